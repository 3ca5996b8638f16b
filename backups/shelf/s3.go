// SPDX-License-Identifier: AGPL-3.0-or-later

package shelf

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"path"
	"strings"

	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"
)

// bucket is the shelf of a repository in an object store.
type bucket struct {
	spot
	client *minio.Client
	name   string
	prefix string // the repository's folder in the bucket; may be empty
}

var _ Shelf = bucket{}

func openS3(rest string, at spot, p Place) (Shelf, error) {
	u, err := webURL(rest)
	if err != nil {
		return nil, at.badAddress(err)
	}
	name, prefix, _ := strings.Cut(strings.Trim(u.Path, "/"), "/")
	if name == "" {
		return nil, at.badAddress(errors.New("it names no bucket"))
	}
	id, secret := p.Env["AWS_ACCESS_KEY_ID"], p.Env["AWS_SECRET_ACCESS_KEY"]
	if id == "" || secret == "" {
		return nil, at.problem("kit.shelf-credentials", errors.New("AWS_ACCESS_KEY_ID or AWS_SECRET_ACCESS_KEY is not set"))
	}
	client, err := minio.New(u.Host, &minio.Options{
		Creds:        credentials.NewStaticV4(id, secret, p.Env["AWS_SESSION_TOKEN"]),
		Secure:       u.Scheme == "https",
		Region:       p.region(),
		BucketLookup: p.lookup(),
		Transport:    bounded{transport()},
		MaxRetries:   3,
	})
	if err != nil {
		return nil, at.badAddress(err)
	}
	return bucket{spot: at, client: client, name: name, prefix: path.Clean("/" + prefix)[1:]}, nil
}

func (p Place) region() string {
	if r := p.option("s3.region"); r != "" {
		return r
	}
	return p.Env["AWS_DEFAULT_REGION"]
}

func (p Place) lookup() minio.BucketLookupType {
	switch p.option("s3.bucket-lookup") {
	case "dns":
		return minio.BucketLookupDNS
	case "path":
		return minio.BucketLookupPath
	default:
		return minio.BucketLookupAuto
	}
}

// Put implements [Shelf]: an object is there whole or not at all.
func (b bucket) Put(ctx context.Context, name string, content []byte) error {
	if err := b.fits(name, content); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	// A checksum in the header is what buckets with object lock ask for.
	how := minio.PutObjectOptions{ContentType: "application/octet-stream", SendContentMd5: true, DisableMultipart: true}
	_, err := b.client.PutObject(ctx, b.name, path.Join(b.prefix, name), bytes.NewReader(content), int64(len(content)), how)
	return b.explain(name, err)
}

// Get implements [Shelf].
func (b bucket) Get(ctx context.Context, name string) ([]byte, error) {
	if err := b.spot.name(name); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	// One plain GET: its answer alone tells a missing bucket from a missing file.
	content, _, _, err := minio.Core{Client: b.client}.GetObject(ctx, b.name, path.Join(b.prefix, name), minio.GetObjectOptions{})
	if err != nil {
		return nil, b.explain(name, err)
	}
	defer content.Close()
	return b.read(name, content)
}

// List implements [Shelf].
func (b bucket) List(ctx context.Context, dir string) ([]string, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel() // ends the listing, too
	prefix := path.Join(b.prefix, dir)
	if prefix != "" {
		prefix += "/"
	}
	var names []string
	for object := range b.client.ListObjects(ctx, b.name, minio.ListObjectsOptions{Prefix: prefix}) {
		if object.Err != nil {
			return nil, b.explain(dir, object.Err)
		}
		name := strings.TrimPrefix(object.Key, prefix)
		if len(names) >= maxFiles {
			break
		}
		if !strings.Contains(name, "/") {
			names = append(names, name)
		}
	}
	return plainNames(names), nil
}

// explain puts the store's words into ours. A bucket that is not there is no
// missing file.
func (b bucket) explain(name string, err error) error {
	if err == nil {
		return nil
	}
	answer := minio.ToErrorResponse(err)
	switch {
	case answer.Code == "NoSuchKey":
		return b.missing(name)
	case answer.StatusCode == http.StatusForbidden || answer.StatusCode == http.StatusUnauthorized:
		return b.failed(errors.Join(fs.ErrPermission, err))
	default:
		return b.failed(err)
	}
}

// transport is one for few and small requests.
func transport() *http.Transport {
	t, ok := http.DefaultTransport.(*http.Transport)
	if !ok {
		return &http.Transport{Proxy: http.ProxyFromEnvironment}
	}
	t = t.Clone()
	t.DisableKeepAlives = true
	t.MaxResponseHeaderBytes = 64 << 10
	return t
}

// bounded ends answers that are too long: a list of names is read as a whole.
type bounded struct{ http.RoundTripper }

// RoundTrip implements [http.RoundTripper].
func (b bounded) RoundTrip(r *http.Request) (*http.Response, error) {
	answer, err := b.RoundTripper.RoundTrip(r)
	if err != nil {
		return nil, err
	}
	answer.Body = &boundedBody{Closer: answer.Body, left: maxTalk, from: answer.Body}
	return answer, nil
}

type boundedBody struct {
	io.Closer
	from io.Reader
	left int64
}

// Read implements [io.Reader].
func (b *boundedBody) Read(p []byte) (int, error) {
	if b.left <= 0 {
		return 0, fmt.Errorf("the answer has more than %d bytes", int64(maxTalk))
	}
	n, err := b.from.Read(p[:min(int64(len(p)), b.left)])
	b.left -= int64(n)
	return n, err
}
