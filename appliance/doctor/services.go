// SPDX-License-Identifier: AGPL-3.0-or-later

package doctor

import (
	"context"
	"strconv"
	"time"

	"rochdale/appliance"
)

// WatchedUnits are the units of ours, and the engine's, that have to be active.
func WatchedUnits() []string {
	return []string{
		"rochdale.service", "rochdale-edge.service", "rochdale-edge.socket", "rochdale-edge-https.socket", "rochdale-edge-http3.socket",
		"rochdale-firewall.service", "docker.service",
	}
}

// loopStarts restarts and an uptime below loopWindow make a crash loop.
const (
	loopStarts = 3
	loopWindow = 10 * time.Minute
)

func units(ctx context.Context, d Doctor) ([]appliance.Finding, error) {
	if d.Units == nil {
		return nil, nil
	}
	var uptime time.Duration
	if d.Machine != nil {
		var err error
		if uptime, err = d.Machine.Uptime(); err != nil {
			return nil, err
		}
	}
	var list []appliance.Finding
	for _, unit := range d.Watched {
		state, err := d.Units.Show(ctx, unit, "LoadState", "ActiveState", "SubState", "NRestarts", "ActiveEnterTimestampMonotonic")
		if err != nil {
			return list, err
		}
		list = append(list, judgeUnit(unit, state, uptime)...)
	}
	return list, nil
}

func judgeUnit(unit string, state map[string]string, uptime time.Duration) []appliance.Finding {
	restarts, _ := strconv.Atoi(state["NRestarts"])
	entered, _ := strconv.ParseInt(state["ActiveEnterTimestampMonotonic"], 10, 64)
	young := uptime-time.Duration(entered)*time.Microsecond < loopWindow
	looping := state["SubState"] == "auto-restart" || restarts >= loopStarts && young
	switch {
	case state["LoadState"] == "not-found":
		return []appliance.Finding{failure("doctor.unit-missing", "unit", unit)}
	case looping:
		return []appliance.Finding{failure("doctor.unit-crashing", "unit", unit, "restarts", restarts)}
	case state["ActiveState"] != "active" && state["ActiveState"] != "reloading":
		return []appliance.Finding{failure("doctor.unit-stopped", "unit", unit, "state", state["ActiveState"])}
	}
	return nil
}

func engine(ctx context.Context, d Doctor) ([]appliance.Finding, error) {
	if d.Engine == nil {
		return nil, nil
	}
	info, err := d.Engine.Info(ctx)
	if err != nil {
		return only(failure("doctor.engine-silent", "detail", cause(err)))
	}
	return judgeEngine(info), nil
}

func judgeEngine(info appliance.EngineInfo) (list []appliance.Finding) {
	if !info.MemoryLimit {
		list = append(list, warning("doctor.engine-no-limits", "version", info.Version))
	}
	if !info.LiveRestore {
		list = append(list, warning("doctor.engine-no-live-restore", "version", info.Version))
	}
	return list
}

// reconcileBound is far above the 30 seconds between two rounds.
const reconcileBound = 5 * time.Minute

func reconciled(ctx context.Context, d Doctor) ([]appliance.Finding, error) {
	if d.Reconciled == nil {
		return nil, nil
	}
	at, ok, err := d.Reconciled.LastReconcile(ctx)
	switch {
	case err != nil:
		return nil, err
	case !ok:
		return only(notice("doctor.reconcile-never"))
	case time.Since(at) > reconcileBound:
		return only(failure("doctor.reconcile-old", "minutes", int(time.Since(at).Minutes())))
	}
	return nil, nil
}
