// SPDX-License-Identifier: AGPL-3.0-or-later

package appliance

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"
	"time"

	"rochdale/appliance/host"
	"rochdale/backups"
)

// reissueLimit bounds one look at the kit: it asks every repository.
const reissueLimit = 15 * time.Minute

// keepKit looks at the kit whenever something asks for it, until ctx is done.
func (d *Daemon) keepKit(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case whole := <-d.kits.wake:
			if err := d.reissue(ctx, whole); err != nil && ctx.Err() == nil {
				d.Log.Warn("the recovery kit could not be brought up to date", "error", err)
			}
		}
	}
}

// reissue makes the recovery kit anew if what is in it changed, and puts it where
// it is not yet. With whole it looks first what lies there. Trouble is kept as a
// finding: it is no reason for a backup to fail.
func (d *Daemon) reissue(ctx context.Context, whole bool) error {
	if d.Kits == nil {
		return nil
	}
	bounded, cancel := context.WithTimeout(ctx, reissueLimit)
	defer cancel()
	err := readable(d.amendRecovery(func(r *RecoveryRecord) error {
		if r.Recipient == "" {
			return nil
		}
		return d.bringKit(bounded, r, whole)
	}))
	switch {
	case ctx.Err() != nil:
		return err
	case err == nil:
		d.kits.note(nil)
	default:
		m := MessageOf(err)
		d.kits.note(&m)
	}
	return err
}

// bringKit issues and publishes. Whatever it got done is kept in r, although the
// rest failed.
func (d *Daemon) bringKit(ctx context.Context, r *RecoveryRecord, whole bool) error {
	if err := d.issueKit(ctx, r); err != nil {
		return err
	}
	err := d.publishKit(ctx, r, whole)
	if lacking := slices.DeleteFunc(slices.Clone(r.Kit.Without), func(name string) bool { return d.savesSoon(ctx, name) }); len(lacking) > 0 {
		err = errors.Join(Problem("recovery.kit-without", nil, "repositories", strings.Join(lacking, ", ")), err)
	}
	if err == nil {
		return nil
	}
	return errors.Join(err, r.Keep(d.Paths, d.files)) // amendRecovery keeps nothing of what failed
}

// issueKit makes a new kit when the last one does not say what is true now, or
// is not there.
func (d *Daemon) issueKit(ctx context.Context, r *RecoveryRecord) error {
	o, err := d.kitOrder(r)
	if err != nil {
		return err
	}
	than := r.Kit.Fingerprint
	if r.Kit.File, err = d.sealedKit(); err != nil {
		return err
	}
	if sumOf(r.Kit.File) != r.Kit.SHA256 {
		than = "" // it is not there, or another one is
	}
	made, err := d.makeKit(ctx, o, than)
	if err != nil {
		return err
	}
	r.IDs = o.IDs
	if made.File == nil {
		r.Kit.Without, r.Kit.ByHand, r.Kit.Recipient = made.Without, made.ByHand, o.Recipient
		return nil
	}
	private := host.Attr{Mode: 0o700, UID: os.Geteuid(), GID: os.Getegid()}
	if err := d.files.MkdirAll(d.Paths.KitFolder(), private); err != nil {
		return err
	}
	private.Mode = 0o600
	if err := d.files.Write(d.Paths.SealedKit(), made.File, private); err != nil {
		return err
	}
	made.SHA256, made.Recipient = sumOf(made.File), o.Recipient
	r.Kit, r.Published = made, map[string]int64{}
	d.Log.Info("a new recovery kit was issued", "serial", made.Serial)
	return r.Keep(d.Paths, d.files)
}

// makeKit makes the kit of an order, of passwords that are known to be right. Who asks
// for nothing new is not held up by that.
func (d *Daemon) makeKit(ctx context.Context, o KitOrder, than string) (SealedKit, error) {
	made, err := d.Kits.Make(ctx, o, than)
	if err != nil || made.File == nil || d.Vault == nil {
		return made, err
	}
	some, without, err := d.provable(ctx, o.Repositories)
	if err != nil {
		return SealedKit{}, err
	}
	if len(without) == 0 {
		return made, nil
	}
	o.Repositories = some
	made, err = d.Kits.Make(ctx, o, than)
	made.Without = append(made.Without, without...)
	return made, err
}

// kitOrder is what the kit would be made of now.
func (d *Daemon) kitOrder(r *RecoveryRecord) (KitOrder, error) {
	config, err := d.configText()
	if err != nil {
		return KitOrder{}, err
	}
	mine, err := ThisBox(d.Paths, d.files)
	if err != nil {
		return KitOrder{}, err
	}
	o := KitOrder{
		Recipient: r.Recipient, Serial: r.Kit.Serial + 1, Issued: time.Now().UTC().Truncate(time.Second), Epoch: mine.Epoch,
		Configuration: config, Repositories: d.repositories(), IDs: d.kits.idsOver(r.IDs),
	}
	o.Name, o.Domain = d.identity()
	return o, nil
}

// configText is the document in force, with the operator's own words where they
// make sense.
func (d *Daemon) configText() (string, error) {
	data, err := readConfigFile(d.Paths.Config())
	if err == nil {
		_, err = ParseConfig(strings.NewReader(string(data)))
	}
	if err == nil {
		return string(data), nil
	}
	good, known := d.config.get()
	if !known {
		return "", err
	}
	data, err = good.Encode()
	return string(data), err
}

// sealedKit reads the last kit, nil if it is not there.
func (d *Daemon) sealedKit() ([]byte, error) {
	if !isFile(d.Paths.SealedKit()) {
		return nil, nil
	}
	f, err := OpenConfig(d.Paths.SealedKit())
	if err != nil {
		return nil, fmt.Errorf("read the recovery kit: %w", err)
	}
	defer f.Close()
	return readBounded(f, maxKit)
}

func sumOf(file []byte) string {
	if file == nil {
		return ""
	}
	sum := sha256.Sum256(file)
	return hex.EncodeToString(sum[:])
}

// maxKit bounds a sealed kit, in bytes.
const maxKit = 1 << 20

func readBounded(r io.Reader, most int64) ([]byte, error) {
	data, err := io.ReadAll(io.LimitReader(r, most+1))
	if err == nil && int64(len(data)) > most {
		err = fmt.Errorf("it has more than %d bytes", most)
	}
	return data, err
}

// publishKit puts the kit beside every repository that is this machine's. One that
// can not be reached keeps nothing from the others. What ails a disk comes last: it may be
// away for weeks, and only the first trouble is told.
func (d *Daemon) publishKit(ctx context.Context, r *RecoveryRecord, whole bool) (err error) {
	var away error
	defer func() { err = errors.Join(err, away) }()
	if r.Published == nil {
		r.Published = map[string]int64{}
	}
	for _, repository := range d.repositories() {
		if r.Published[repository.Name] == r.Kit.Serial && whole {
			there, lookErr := d.Kits.Published(ctx, repository, r.Kit)
			if lookErr == nil && there || keepsNoFiles(lookErr) {
				continue
			}
		} else if r.Published[repository.Name] == r.Kit.Serial {
			continue
		}
		one := d.mayWrite(ctx, repository)
		if one == nil {
			one = d.Kits.Publish(ctx, repository, r.Kit)
		}
		switch {
		case one == nil || keepsNoFiles(one):
			r.Published[repository.Name] = r.Kit.Serial
		case ctx.Err() != nil:
			return errors.Join(err, one)
		case repository.Kind() == backups.Local && refusedBy(one, "kit.shelf-unreachable"):
			away = errors.Join(away, one)
		default:
			err = errors.Join(err, one)
		}
	}
	return err
}

// KitFile is a sealed kit on its way to a person.
type KitFile struct {
	Serial int64     `json:"serial"`
	Issued time.Time `json:"issued"`
	Set    string    `json:"set"`
	Need   int       `json:"need"`
	Of     int       `json:"of"`
	File   []byte    `json:"file"`
}

// RecoveryKit gives the kit as it is sealed, after a look whether it is up to date.
func (d *Daemon) RecoveryKit(ctx context.Context) (KitFile, error) {
	failed := d.reissue(ctx, false)
	r, err := ReadRecovery(d.Paths)
	if err != nil {
		return KitFile{}, err
	}
	if r.Recipient == "" {
		return KitFile{}, Problem("recovery.no-pages", nil)
	}
	file, err := d.sealedKit()
	if err != nil || file == nil || r.Kit.Serial == 0 {
		return KitFile{}, errors.Join(failed, err, Problem("recovery.kit-not-there", nil))
	}
	return KitFile{Serial: r.Kit.Serial, Issued: r.Kit.Issued, Set: r.Set, Need: r.Need, Of: r.Of, File: file}, nil
}

// KitCopied notes that the co-op took a copy of the kit with this number away.
func (d *Daemon) KitCopied(_ context.Context, serial int64) error {
	return d.amendRecovery(func(r *RecoveryRecord) error {
		r.Copied = KitCopy{Serial: serial, At: time.Now().UTC().Truncate(time.Second)}
		if serial == r.Kit.Serial {
			r.Copied.Recipient = r.Kit.Recipient
		}
		return nil
	})
}

func sortedNames[T any](m map[string]T) []string { return slices.Sorted(maps.Keys(m)) }
