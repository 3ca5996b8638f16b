// SPDX-License-Identifier: AGPL-3.0-or-later

package appliance_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"time"

	"rochdale/appliance"
	"rochdale/backups"
)

// kitsTwin seals nothing: its kits say in plain words what they were made of.
type kitsTwin struct {
	mu    sync.Mutex
	shelf *shelfTwin
	asked int
	err   error
	files map[string]string // what is read beside the order, such as a password
	// byHand is what no kit may bring.
	byHand []string
	// without are repositories whose password can not be read.
	without []string
}

var _ appliance.Kits = (*kitsTwin)(nil)

type twinChecks struct {
	Pages []appliance.PageState `json:"pages"`
}

func (k *kitsTwin) Make(_ context.Context, o appliance.KitOrder, than string) (appliance.SealedKit, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.asked++
	if k.err != nil {
		return appliance.SealedKit{}, k.err
	}
	mark := fmt.Sprint(o.Recipient, o.Epoch, o.Name, o.Domain, o.Configuration, o.Repositories, o.IDs, k.files)
	made := appliance.SealedKit{Serial: o.Serial, Issued: o.Issued, Fingerprint: mark, Label: strconv.AppendInt(nil, o.Serial, 10), ByHand: k.byHand, Without: k.without}
	if mark != than {
		made.File = fmt.Appendf(nil, "kit %d for %s: %s", o.Serial, o.Recipient, mark)
	}
	return made, nil
}

func (k *kitsTwin) Publish(ctx context.Context, r backups.Repository, made appliance.SealedKit) error {
	return k.shelf.Put(ctx, r, appliance.KitName, made.File)
}

func (k *kitsTwin) Published(ctx context.Context, r backups.Repository, made appliance.SealedKit) (bool, error) {
	there, err := k.shelf.Get(ctx, r, appliance.KitName)
	return string(there) == string(made.File), err
}

func (k *kitsTwin) Pages(checks json.RawMessage) ([]appliance.PageState, error) {
	var c twinChecks
	err := json.Unmarshal(checks, &c)
	return c.Pages, err
}

func (k *kitsTwin) Answer(checks json.RawMessage, a appliance.PageAnswer, at time.Time) (json.RawMessage, error) {
	var c twinChecks
	if err := json.Unmarshal(checks, &c); err != nil {
		return nil, err
	}
	if a.Code != "right" {
		return nil, &backups.Problem{ID: "kit.code-wrong", Err: errors.New("another one")}
	}
	c.Pages[a.Page-1].Proven = at
	return json.Marshal(c)
}

func (k *kitsTwin) looks() int {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.asked
}
