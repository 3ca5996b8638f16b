// SPDX-License-Identifier: AGPL-3.0-or-later

package kit

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io/fs"
	"time"

	"rochdale/backups"
	"rochdale/backups/shelf"
)

// LabelName is what the label of a kit is called beside each repository.
const LabelName = "rochdale-kit.json"

// Label says what a sealed kit is without opening it, which the box can not. It
// holds no secret. By it a box sees that a kit beside a repository, or the copy
// that a co-op keeps, is older than its last one, and that another machine took
// the repositories over.
type Label struct {
	Schema int       `json:"schema"`
	Serial int64     `json:"serial"`
	Issued time.Time `json:"issued"`
	Epoch  int64     `json:"epoch"`
	Key    string    `json:"key"`    // [KeyID] of the recipient, in hex: whose pages open it
	SHA256 string    `json:"sha256"` // of the sealed kit, in hex
}

// LabelOf makes the label of a kit that was sealed for the recipient.
func LabelOf(k Kit, recipient string, sealed []byte) Label {
	id, sum := KeyID(recipient), sha256.Sum256(sealed)
	return Label{
		Schema: Schema, Serial: k.Serial, Issued: k.Issued, Epoch: k.Epoch,
		Key: hex.EncodeToString(id[:]), SHA256: hex.EncodeToString(sum[:]),
	}
}

// Of tells whether this is the label of the sealed kit.
func (l Label) Of(sealed []byte) bool {
	sum := sha256.Sum256(sealed)
	return l.SHA256 == hex.EncodeToString(sum[:])
}

// Publish puts a sealed kit and then its label beside a repository. Cut off in
// between, the older label does not fit the kit: publish again.
func Publish(ctx context.Context, s shelf.Shelf, sealed []byte, l Label) error {
	if err := s.Put(ctx, Name, sealed); err != nil {
		return err
	}
	data, err := json.Marshal(l)
	if err != nil {
		return err
	}
	return s.Put(ctx, LabelName, append(data, '\n'))
}

// Published gives the label of the kit beside a repository, and whether the kit
// that lies there is the labelled one. Where there is no kit the error has
// [fs.ErrNotExist] in it.
func Published(ctx context.Context, s shelf.Shelf) (l Label, whole bool, err error) {
	data, err := s.Get(ctx, LabelName)
	if err != nil {
		return Label{}, false, err
	}
	if l, err = readLabel(data); err != nil {
		return Label{}, false, err
	}
	sealed, err := s.Get(ctx, Name)
	if errors.Is(err, fs.ErrNotExist) {
		return l, false, nil
	}
	return l, err == nil && l.Of(sealed), err
}

func readLabel(data []byte) (Label, error) {
	var l Label
	d := json.NewDecoder(bytes.NewReader(data))
	d.DisallowUnknownFields()
	if err := d.Decode(&l); err != nil {
		return Label{}, badLabel(err)
	}
	if l.Schema != Schema || l.Serial < 1 || l.Epoch < 1 {
		return Label{}, badLabel(errors.New("schema, serial number or owner epoch is out of range"))
	}
	return l, nil
}

func badLabel(cause error) error { return &backups.Problem{ID: "kit.label-damaged", Err: cause} }
