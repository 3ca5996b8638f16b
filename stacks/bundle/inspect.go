// SPDX-License-Identifier: AGPL-3.0-or-later

package bundle

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io"
	"path"
	"slices"
	"strings"
)

const (
	maxConfig       = 1 << 20 // bytes of an image's config, or of its manifest
	maxLayerEntries = 500_000 // each takes a place on the disk, however small
)

// reservedLabels begin with this; the appliance recognises its own by them.
const reservedLabels = "coop.rochdale."

// inspect reads the archive of an image to its end and refuses one that is not,
// byte for byte, what images.lock says: the engine would load whatever else it
// holds. All sizes in it are bounded by the archive's own.
func (l locked) inspect(archive io.Reader) error {
	i := inspection{locked: l, tar: tar.NewReader(archive)}
	if err := i.small(); err != nil {
		return err
	}
	if err := i.config(); err != nil {
		return err
	}
	for _, layer := range i.layout.once() {
		if err := i.layer(layer); err != nil {
			return err
		}
	}
	if _, err := i.tar.Next(); !errors.Is(err, io.EOF) {
		return i.refuse("it holds more than the image", err)
	}
	n, err := io.Copy(io.Discard, archive)
	if n > 0 {
		return i.refuse("something follows its end", nil)
	}
	return err
}

// inspection is the work on one archive.
type inspection struct {
	locked
	tar    *tar.Reader
	layout layout
}

// refuse says what is wrong with the image. A reason of the bundle's own, such
// as a wrong digest, comes first.
func (i *inspection) refuse(reason string, cause error) error {
	var known *Refused
	if errors.As(cause, &known) {
		return known
	}
	return refuse("image-content", cause, "path", i.path(), "reason", reason)
}

// next finds the one file that may come next.
func (i *inspection) next(name string, most int64) (*tar.Header, error) {
	h, err := i.tar.Next()
	if err != nil {
		return nil, i.refuse(name+" is missing", err)
	}
	if h.Name != name || h.Typeflag != tar.TypeReg {
		return nil, i.refuse("it holds "+h.Name+" where "+name+" belongs", nil)
	}
	if h.Size > most {
		return nil, i.refuse(name+" is too large", nil)
	}
	return h, nil
}

func (i *inspection) text(name string) ([]byte, error) {
	if _, err := i.next(name, maxConfig); err != nil {
		return nil, err
	}
	text, err := io.ReadAll(i.tar)
	if err != nil {
		return nil, i.refuse(name+" is cut", err)
	}
	return text, nil
}

// small reads the files that only name others. The sizes are the manifest's;
// everything else in them follows from images.lock.
func (i *inspection) small() error {
	var texts [][]byte
	names := []string{layoutName, ociIndex, dockerIndex, blobPath(i.Manifest)}
	for _, name := range names {
		text, err := i.text(name)
		if err != nil {
			return err
		}
		texts = append(texts, text)
	}
	var said layout
	if err := json.Unmarshal(texts[3], &said); err != nil || len(said.Layers) != len(i.Layers) {
		return i.refuse("its manifest is not that of the image", err)
	}
	layers := make([]blobInfo, len(i.Layers))
	for n, id := range i.Layers {
		layers[n] = blobInfo{Digest: id, Size: said.Layers[n].Size}
	}
	i.layout = newLayout(blobInfo{Digest: i.Config, Size: said.Config.Size}, layers)
	files, err := i.layout.files()
	if err != nil {
		return err
	}
	for n, f := range files {
		if f.name != names[n] || !bytes.Equal(f.text, texts[n]) {
			return i.refuse(names[n]+" names another image, or gives it a name", nil)
		}
	}
	return nil
}

// imageConfig is what matters of an image's config.
type imageConfig struct {
	Architecture string `json:"architecture"`
	OS           string `json:"os"`
	RootFS       struct {
		DiffIDs []string `json:"diff_ids"`
	} `json:"rootfs"`
	Config struct {
		Volumes map[string]any
		Labels  map[string]string
	} `json:"config"`
}

func (i *inspection) config() error {
	text, err := i.text(blobPath(i.Config))
	if err != nil {
		return err
	}
	var c imageConfig
	if err := json.Unmarshal(text, &c); err != nil {
		return i.refuse("its config can not be read", err)
	}
	switch {
	case digestOf(text) != i.Config || int64(len(text)) != i.layout.Config.Size:
		return i.refuse("its config is another one than images.lock names", nil)
	case !slices.Equal(c.RootFS.DiffIDs, i.Layers):
		return i.refuse("its config names other layers than images.lock", nil)
	case c.OS != "linux" || archOf(c.Architecture) != i.Arch:
		return i.refuse("it is for "+path.Join(c.OS, c.Architecture), nil)
	case len(c.Config.Volumes) > 0:
		return i.refuse("it declares a VOLUME, whose data no update and no backup would see", nil)
	}
	for name := range c.Config.Labels {
		if strings.HasPrefix(name, reservedLabels) {
			return i.refuse("it has the label "+name+", which is the appliance's own", nil)
		}
	}
	return nil
}

// layer checks one layer's digest, and that unpacking it writes no more bytes
// than it has: a compressed layer, or a file of holes, would.
func (i *inspection) layer(b blobInfo) error {
	h, err := i.next(b.path(), maxImage)
	if err != nil {
		return err
	}
	if h.Size != b.Size {
		return i.refuse(b.path()+" has another size than its manifest says", nil)
	}
	hash := sha256.New()
	content := io.TeeReader(i.tar, hash)
	if err := plainTar(content, b.Size); err != nil {
		return i.refuse(b.path()+" is not a plain tar archive", err)
	}
	if _, err := io.Copy(io.Discard, content); err != nil {
		return i.refuse(b.path()+" is cut", err)
	}
	if "sha256:"+hex.EncodeToString(hash.Sum(nil)) != b.Digest {
		return i.refuse(b.path()+" is another layer than images.lock names", nil)
	}
	return nil
}

func plainTar(r io.Reader, size int64) error {
	files, total := 0, int64(0)
	for t := tar.NewReader(r); ; {
		h, err := t.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		files++
		if h.Typeflag == tar.TypeReg || h.Typeflag == tar.TypeGNUSparse {
			total += h.Size // of others the size means nothing
		}
		if total > size || files > maxLayerEntries {
			return errors.New("it unpacks to more than it holds")
		}
	}
}

// inspected passes an image's archive on to use, which reads all of it, while it
// is inspected. What use finds wrong counts first: a damaged file is not a
// forged one.
func (l locked) inspected(archive io.Reader, use func(io.Reader) error) error {
	r, w := io.Pipe()
	verdict := make(chan error, 1)
	go func() {
		err := l.inspect(r)
		_, _ = io.Copy(io.Discard, r) // so that use reads on to the end
		verdict <- err
	}()
	err := use(io.TeeReader(archive, w))
	_ = w.CloseWithError(err) // always nil
	if refused := <-verdict; err == nil {
		return refused
	}
	return err
}
