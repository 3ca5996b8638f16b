// SPDX-License-Identifier: AGPL-3.0-or-later

package shelf_test

import (
	"bufio"
	"crypto/md5"
	"encoding/base64"
	"encoding/xml"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"rochdale/backups/shelf"
)

// TestS3 speaks to a twin of an object store; the same contract is run on a real
// one in gateway_test.go.
func TestS3(t *testing.T) {
	twin := &twin{objects: map[string][]byte{}}
	address := serve(t, twin.ServeHTTP)
	at := func(path string) shelf.Place { return storePlace(address, path) }
	plant := func(prefix string) func(*testing.T, string, []byte) {
		return func(_ *testing.T, name string, content []byte) { twin.put(prefix+name, content) }
	}
	t.Run("contract", func(t *testing.T) {
		contract(t, ground{at("/coop"), at("/nobody/repo"), plant("")})
	})
	t.Run("in a folder", func(t *testing.T) {
		contract(t, ground{at("/coop/a/repo/"), at("/nobody"), plant("a/repo/")})
	})
	t.Run("put back", func(t *testing.T) {
		putBackContract(t, ground{at("/coop/b"), at("/nobody"), plant("b/")})
	})
	t.Run("denied", func(t *testing.T) {
		p := at("/coop/b")
		p.Env["AWS_SECRET_ACCESS_KEY"], p.Env["AWS_ACCESS_KEY_ID"] = "x", "somebody"
		if _, err := open(t, p).Get(t.Context(), "config"); idOf(err) != "kit.shelf-denied" {
			t.Errorf("got %v", err)
		}
	})
	t.Run("no credentials", func(t *testing.T) {
		if _, err := shelf.Open(shelf.Place{URL: "s3:host/coop"}, machine()); idOf(err) != "kit.shelf-credentials" {
			t.Errorf("got %v", err)
		}
	})
}

// TestS3EndlessList: a store that never ends its list is left.
func TestS3EndlessList(t *testing.T) {
	address := serve(t, func(w http.ResponseWriter, _ *http.Request) {
		io.WriteString(w, `<?xml version="1.0"?><ListBucketResult>`)
		for {
			if _, err := io.WriteString(w, "<Contents><Key>"+strings.Repeat("k", 1000)+"</Key></Contents>"); err != nil {
				return
			}
		}
	})
	if _, err := open(t, storePlace(address, "/coop")).List(t.Context(), "keys"); idOf(err) != "kit.shelf-unreachable" {
		t.Errorf("got %v", err)
	}
}

func storePlace(address, path string) shelf.Place {
	return shelf.Place{
		URL:     "s3:" + address + path,
		Options: []string{"s3.bucket-lookup=path"},
		Env:     map[string]string{"AWS_ACCESS_KEY_ID": "coop", "AWS_SECRET_ACCESS_KEY": "coop-secret", "AWS_DEFAULT_REGION": "us-east-1"},
	}
}

func serve(t *testing.T, h http.HandlerFunc) string {
	t.Helper()
	s := httptest.NewServer(h)
	t.Cleanup(s.Close)
	return s.URL
}

// twin keeps the objects of one bucket, coop, in memory.
type twin struct {
	mu      sync.Mutex
	objects map[string][]byte
}

func (s *twin) put(key string, content []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.objects[key] = content
}

// ServeHTTP implements [http.Handler].
func (s *twin) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	bucket, key, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/"), "/")
	switch {
	case !strings.Contains(r.Header.Get("Authorization"), "Credential=coop/"):
		refuse(w, http.StatusForbidden, "InvalidAccessKeyId")
	case bucket != "coop":
		refuse(w, http.StatusNotFound, "NoSuchBucket")
	case r.Method == http.MethodPut:
		s.take(w, r, key)
	case key == "":
		s.list(w, r.URL.Query().Get("prefix"))
	default:
		s.give(w, r, key)
	}
}

func (s *twin) take(w http.ResponseWriter, r *http.Request, key string) {
	content, err := payload(r)
	sum := md5.Sum(content)
	if err != nil || r.Header.Get("Content-Md5") != base64.StdEncoding.EncodeToString(sum[:]) {
		refuse(w, http.StatusBadRequest, "BadDigest")
		return
	}
	s.put(key, content)
	w.Header().Set("ETag", fmt.Sprintf(`"%x"`, sum))
}

// payload takes the signed chunks of an upload apart.
func payload(r *http.Request) (content []byte, err error) {
	body := bufio.NewReader(r.Body)
	if !strings.HasPrefix(r.Header.Get("X-Amz-Content-Sha256"), "STREAMING-") {
		return io.ReadAll(body)
	}
	for {
		head, err := body.ReadString('\n')
		if err != nil {
			return nil, err
		}
		digits, _, _ := strings.Cut(head, ";")
		size, err := strconv.ParseUint(digits, 16, 24)
		if err != nil || size == 0 {
			return content, err
		}
		chunk := make([]byte, size+2) // and the end of the line
		if _, err := io.ReadFull(body, chunk); err != nil {
			return nil, err
		}
		content = append(content, chunk[:size]...)
	}
}

func (s *twin) give(w http.ResponseWriter, r *http.Request, key string) {
	s.mu.Lock()
	content, ok := s.objects[key]
	s.mu.Unlock()
	if !ok {
		refuse(w, http.StatusNotFound, "NoSuchKey")
		return
	}
	w.Header().Set("ETag", fmt.Sprintf(`"%x"`, md5.Sum(content)))
	w.Header().Set("Last-Modified", "Sun, 22 Nov 2026 10:00:00 GMT")
	w.Header().Set("Content-Length", strconv.Itoa(len(content)))
	if r.Method == http.MethodGet {
		w.Write(content)
	}
}

func (s *twin) list(w http.ResponseWriter, prefix string) {
	type object struct{ Key string }
	var answer struct {
		XMLName        xml.Name `xml:"ListBucketResult"`
		Contents       []object
		CommonPrefixes []struct{ Prefix string }
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for key := range s.objects {
		name, ours := strings.CutPrefix(key, prefix)
		if folder, _, deeper := strings.Cut(name, "/"); ours && deeper {
			answer.CommonPrefixes = append(answer.CommonPrefixes, struct{ Prefix string }{prefix + folder + "/"})
		} else if ours {
			answer.Contents = append(answer.Contents, object{key})
		}
	}
	slices.SortFunc(answer.Contents, func(a, b object) int { return strings.Compare(a.Key, b.Key) })
	xml.NewEncoder(w).Encode(answer)
}

func refuse(w http.ResponseWriter, status int, code string) {
	w.WriteHeader(status)
	fmt.Fprintf(w, "<Error><Code>%s</Code><Message>no</Message></Error>", code)
}
