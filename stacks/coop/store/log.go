// SPDX-License-Identifier: AGPL-3.0-or-later

package store

import (
	"context"
	"errors"
	"strings"

	"rochdale/stacks/coop"
)

func (t *tx) Append(ctx context.Context, e coop.Event) (coop.Event, error) {
	seq, prev, err := t.Head(ctx)
	if err != nil {
		return e, err
	}
	e = e.Seal(seq+1, prev)
	return e, t.exec(ctx, `insert into events (seq, id, subject, kind, actor_id, device, device_at, at, data, prev, hash)
		values (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`,
		e.Seq, e.ID, e.Subject, e.Kind, e.ActorID, e.Device, coop.Millis(e.DeviceAt), coop.Millis(e.At), e.Data, e.Prev, e.Hash)
}

func (t *tx) Head(ctx context.Context) (seq int64, hash string, err error) {
	e, err := one(ctx, t, func(scan scanner) (e coop.Event, err error) {
		err = scan(&e.Seq, &e.Hash)
		return e, err
	}, "select seq, hash from events order by seq desc limit 1")
	if errors.Is(err, coop.ErrMissing) {
		err = nil
	}
	return e.Seq, e.Hash, err
}

const eventCols = "select seq, id, subject, kind, actor_id, device, device_at, at, data, prev, hash from events "

func readEvent(scan scanner) (e coop.Event, err error) {
	var there, here int64
	err = scan(&e.Seq, &e.ID, &e.Subject, &e.Kind, &e.ActorID, &e.Device, &there, &here, &e.Data, &e.Prev, &e.Hash)
	e.DeviceAt, e.At = coop.FromMillis(there), coop.FromMillis(here)
	return e, err
}

func (t *tx) Events(ctx context.Context, after int64, limit int) ([]coop.Event, error) {
	return many(ctx, t, readEvent, eventCols+"where seq > ? order by seq limit ?", after, limit)
}

func (t *tx) EventsOf(ctx context.Context, subject string, limit int) ([]coop.Event, error) {
	return many(ctx, t, readEvent, "select * from ("+eventCols+"where subject = ? order by seq desc limit ?) as newest order by seq", subject, limit)
}

func (t *tx) LastEvent(ctx context.Context, subject string, kinds ...string) (coop.Event, error) {
	args := []any{subject}
	for _, k := range kinds {
		args = append(args, k)
	}
	marks := strings.TrimSuffix(strings.Repeat("?, ", len(kinds)), ", ")
	return one(ctx, t, readEvent, eventCols+"where subject = ? and kind in ("+marks+") order by seq desc limit 1", args...)
}

func (t *tx) CountEvents(ctx context.Context, subject, kind string, after int64) (int64, error) {
	return one(ctx, t, number, "select count(*) from events where subject = ? and kind = ? and seq > ?", subject, kind, after)
}

func (t *tx) Settings(ctx context.Context) (int64, map[string]string, error) {
	version, err := one(ctx, t, number, "select coalesce(max(version), 0) from setting_versions")
	if err != nil {
		return 0, nil, err
	}
	values, err := t.values(ctx, version)
	return version, values, err
}

func (t *tx) values(ctx context.Context, version int64) (map[string]string, error) {
	type pair struct{ key, value string }
	list, err := many(ctx, t, func(scan scanner) (p pair, err error) {
		err = scan(&p.key, &p.value)
		return p, err
	}, "select key, value from settings where version = ?", version)
	out := map[string]string{}
	for _, p := range list {
		out[p.key] = p.value
	}
	return out, err
}

func (t *tx) AddSettings(ctx context.Context, v coop.SettingsVersion) error {
	err := t.exec(ctx, "insert into setting_versions (version, actor_id, reason, at) values (?, ?, ?, ?)", v.Version, v.ActorID, v.Reason, coop.Millis(v.At))
	if err != nil {
		return err
	}
	for key, value := range v.Values {
		if err := t.exec(ctx, "insert into settings (version, key, value) values (?, ?, ?)", v.Version, key, value); err != nil {
			return err
		}
	}
	return nil
}

func (t *tx) SettingsVersions(ctx context.Context, limit int) ([]coop.SettingsVersion, error) {
	list, err := many(ctx, t, func(scan scanner) (v coop.SettingsVersion, err error) {
		var at int64
		err = scan(&v.Version, &v.ActorID, &v.Reason, &at)
		v.At = coop.FromMillis(at)
		return v, err
	}, "select version, actor_id, reason, at from setting_versions order by version desc limit ?", limit)
	for i := range list {
		if err != nil {
			return nil, err
		}
		list[i].Values, err = t.values(ctx, list[i].Version)
	}
	return list, err
}
