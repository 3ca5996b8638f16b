// SPDX-License-Identifier: AGPL-3.0-or-later

package engine_test

import (
	"archive/tar"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"rochdale/appliance/engine"
)

// fake answers like an engine whose containers end at once, but for those that are
// deaf. It is for the error paths only, and passes the same contract as the real ones.
type fake struct {
	mu         sync.Mutex
	minAPI     string                    // older clients are turned away, when set
	maxAPI     string                    // what it says it speaks
	images     map[string]*fakeImage     // name or id -> image
	contents   bool                      // numbers images by their manifest, as the store that keeps contents does
	containers map[string]map[string]any // name -> answer of inspect
	networks   map[string]map[string]any
	hangUp     func(*http.Request) bool // breaks the connection in the middle of the answer
	streams    chan struct{}            // an event stream ends for each value
	execs      map[string]*fakeExec     // programs that were started
}

func newFake(t *testing.T) (*fake, *engine.Engine) {
	t.Helper()
	f := &fake{
		maxAPI: "1.41", images: map[string]*fakeImage{}, containers: map[string]map[string]any{},
		networks: map[string]map[string]any{}, streams: make(chan struct{}), execs: map[string]*fakeExec{},
	}
	socket := filepath.Join(t.TempDir(), "s")
	l, err := net.Listen("unix", socket)
	must(t, err)
	server := &http.Server{Handler: f, ReadHeaderTimeout: time.Second}
	done := make(chan error, 1)
	go func() { done <- server.Serve(l) }()
	t.Cleanup(func() {
		must(t, server.Close())
		if err := <-done; !errors.Is(err, http.ErrServerClosed) {
			t.Error(err)
		}
	})
	e, err := engine.New(socket)
	must(t, err)
	return f, e
}

var versioned = regexp.MustCompile(`^/v([0-9.]+)(/.*)$`)

func (f *fake) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	f.mu.Lock()
	hangUp, minAPI, maxAPI := f.hangUp, f.minAPI, f.maxAPI
	f.mu.Unlock()
	if hangUp != nil && hangUp(r) {
		w.Header().Set("Content-Length", "1000")
		_, _ = io.WriteString(w, "{")
		return
	}
	path := r.URL.Path
	if m := versioned.FindStringSubmatch(path); m != nil {
		if path = m[2]; minAPI != "" && m[1] != maxAPI {
			refuse(w, http.StatusBadRequest, "client version "+m[1]+" is too old. Minimum supported API version is "+minAPI+", please upgrade your client to a newer version")
			return
		}
	}
	if path == "/_ping" {
		w.Header().Set("API-Version", maxAPI)
		return
	}
	if path == "/events" {
		f.events(w, r)
		return
	}
	if p := strings.Split(strings.Trim(path, "/"), "/"); p[0] == "exec" {
		f.exec(w, r, p[1:]) // a program talks while others are asked for
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.route(w, r, strings.Split(strings.Trim(path, "/"), "/"))
}

func (f *fake) route(w http.ResponseWriter, r *http.Request, p []string) {
	switch p[0] {
	case "images":
		f.image(w, r, p[1:])
	case "networks":
		f.network(w, r, p[1:])
	case "containers":
		f.container(w, r, p[1:])
	default:
		refuse(w, http.StatusNotFound, "page not found")
	}
}

func (f *fake) image(w http.ResponseWriter, r *http.Request, p []string) {
	name := strings.Join(p[:max(0, len(p)-1)], "/")
	switch {
	case p[0] == "load":
		f.load(w, r)
	case p[0] == "json":
		list := []map[string]any{}
		for name, i := range f.images {
			if name != i.id {
				list = append(list, map[string]any{"Id": i.id, "RepoTags": []string{name}})
			}
		}
		answer(w, list)
	case r.Method == http.MethodDelete:
		f.untag(strings.Join(p, "/"))
		answer(w, []any{})
	case f.images[name] == nil:
		refuse(w, http.StatusNotFound, "No such image: "+name)
	case p[len(p)-1] == "tag":
		f.images[r.FormValue("repo")+":"+r.FormValue("tag")] = f.images[name]
		w.WriteHeader(http.StatusCreated)
	default:
		i := f.images[name]
		answer(w, map[string]any{"Id": i.id, "RepoTags": f.tags(i), "RootFS": map[string]any{"Layers": i.layers}})
	}
}

// fakeImage is an image as the fake engine keeps it.
type fakeImage struct {
	id     string
	layers []string
}

func (f *fake) tags(i *fakeImage) (tags []string) {
	for name, other := range f.images {
		if other == i && name != i.id {
			tags = append(tags, name)
		}
	}
	return tags
}

// untag removes a name, and the image with its last one.
func (f *fake) untag(name string) {
	i, ok := f.images[name]
	delete(f.images, name)
	if ok && len(f.tags(i)) == 0 {
		delete(f.images, i.id)
	}
}

// load believes the archive's manifest and hashes its files.
func (f *fake) load(w http.ResponseWriter, r *http.Request) {
	var manifest []struct {
		Config           string
		RepoTags, Layers []string
	}
	var index struct{ Manifests []struct{ Digest string } }
	sums := map[string]string{}
	for archive := tar.NewReader(r.Body); ; {
		h, err := archive.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			refuse(w, http.StatusInternalServerError, err.Error())
			return
		}
		data, err := io.ReadAll(archive)
		if err != nil {
			refuse(w, http.StatusInternalServerError, err.Error())
			return
		}
		switch h.Name {
		case "manifest.json":
			_ = json.Unmarshal(data, &manifest)
		case "index.json":
			_ = json.Unmarshal(data, &index)
		}
		sums[h.Name] = idOf(data)
	}
	for n, m := range manifest {
		i := &fakeImage{id: sums[m.Config]}
		if f.contents {
			i.id = index.Manifests[n].Digest
		}
		for _, l := range m.Layers {
			i.layers = append(i.layers, sums[l])
		}
		f.images[i.id] = i
		said := "Loaded image ID: " + i.id
		for _, tag := range m.RepoTags {
			f.images[tag], said = i, "Loaded image: "+tag
		}
		answer(w, map[string]string{"stream": said + "\n"})
	}
}

func (f *fake) network(w http.ResponseWriter, r *http.Request, p []string) {
	if p[0] == "create" {
		var asked struct{ Name, Driver, Labels any }
		_ = json.NewDecoder(r.Body).Decode(&asked)
		f.networks[asked.Name.(string)] = map[string]any{"Name": asked.Name, "Driver": asked.Driver, "Labels": asked.Labels}
		answer(w, map[string]string{"Id": "n"})
		return
	}
	n, ok := f.networks[p[0]]
	switch {
	case !ok:
		refuse(w, http.StatusNotFound, "network "+p[0]+" not found")
	case r.Method == http.MethodDelete:
		delete(f.networks, p[0])
	default:
		answer(w, n)
	}
}

func (f *fake) container(w http.ResponseWriter, r *http.Request, p []string) {
	switch p[0] {
	case "json":
		f.list(w, r)
		return
	case "create":
		f.create(w, r)
		return
	}
	c, ok := f.containers[p[0]]
	switch {
	case !ok:
		refuse(w, http.StatusNotFound, "No such container: "+p[0])
	case r.Method == http.MethodDelete:
		delete(f.containers, p[0])
	case p[1] == "json":
		answer(w, c)
	case p[1] == "exec":
		f.makeExec(w, r)
	case p[1] == "logs" && command(c)[0] == "deaf":
		frame(w, "I hear nothing\n")
	case p[1] == "logs":
		for i := range 20 {
			frame(w, fmt.Sprintf("line %d\n", i+6))
		}
	case p[1] == "start":
		c["State"] = begun(command(c))
	}
}

// command is what a container runs; what matters here is how it ends.
func command(c map[string]any) (argv []string) {
	words, _ := c["Config"].(map[string]any)["Cmd"].([]any)
	for _, w := range words {
		argv = append(argv, fmt.Sprint(w))
	}
	return append(argv, "", "")
}

// begun is the state of a container right after its start: "deaf" goes on, "exit
// CODE" has ended, and all others with code 7.
func begun(argv []string) map[string]any {
	now := time.Now().Format(time.RFC3339Nano)
	if argv[0] == "deaf" {
		return map[string]any{"Status": "running", "Running": true, "StartedAt": now, "FinishedAt": "0001-01-01T00:00:00Z"}
	}
	code, err := strconv.Atoi(argv[1])
	if err != nil {
		code = 7
	}
	return map[string]any{"Status": "exited", "ExitCode": code, "StartedAt": now, "FinishedAt": now}
}

func (f *fake) create(w http.ResponseWriter, r *http.Request) {
	var asked map[string]any
	_ = json.NewDecoder(r.Body).Decode(&asked)
	name := r.FormValue("name")
	f.containers[name] = map[string]any{
		"Id": name, "Name": "/" + name, "Config": asked, "HostConfig": asked["HostConfig"],
		"State": map[string]any{"Status": "created", "StartedAt": "0001-01-01T00:00:00Z", "FinishedAt": "0001-01-01T00:00:00Z"},
	}
	answer(w, map[string]string{"Id": name})
}

func (f *fake) list(w http.ResponseWriter, r *http.Request) {
	list := []map[string]any{}
	for name, c := range f.containers {
		labels, _ := c["Config"].(map[string]any)["Labels"].(map[string]any)
		_, stack, _ := strings.Cut(r.FormValue("filters"), "coop.rochdale.stack=")
		stack, _, _ = strings.Cut(stack, `"`)
		if stack == "" || labels["coop.rochdale.stack"] == stack {
			list = append(list, map[string]any{"Id": name, "State": c["State"].(map[string]any)["Status"]})
		}
	}
	answer(w, list)
}

func (f *fake) events(w http.ResponseWriter, r *http.Request) {
	w.(http.Flusher).Flush()
	select {
	case <-f.streams:
	case <-r.Context().Done():
	}
}

func (f *fake) set(change func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	change()
}

func answer(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(v)
}

func refuse(w http.ResponseWriter, code int, message string) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	_ = json.NewEncoder(w).Encode(map[string]string{"message": message})
}

// frame writes a line as the engine multiplexes it.
func frame(w io.Writer, line string) {
	head := []byte{1, 0, 0, 0, 0, 0, 0, 0}
	binary.BigEndian.PutUint32(head[4:], uint32(len(line)))
	_, _ = w.Write(append(head, line...))
}

func idOf(data []byte) string {
	sum := sha256.Sum256(data)
	return "sha256:" + hex.EncodeToString(sum[:])
}
