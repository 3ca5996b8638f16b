// SPDX-License-Identifier: AGPL-3.0-or-later

package engine

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"syscall"

	"github.com/containerd/errdefs"
	"github.com/docker/docker/client"

	"rochdale/appliance"
)

// explain turns an error of the SDK into one for people. Errors that are
// already ours pass through.
func explain(ctx context.Context, err error) error {
	var ours *appliance.Error
	switch {
	case err == nil:
		return nil
	case errors.As(err, &ours):
		return err
	case ctx.Err() != nil:
		return fmt.Errorf("docker: %w", context.Cause(ctx))
	case unreachable(err):
		return appliance.Problem("engine.unreachable", err)
	case errdefs.IsNotFound(err):
		return appliance.Problem("engine.not-there", err, "detail", detail(err))
	default:
		return appliance.Problem("engine.refused", err, "detail", detail(err))
	}
}

// unreachable tells an engine that is down or dying from one that says no.
func unreachable(err error) bool {
	for _, gone := range []error{io.EOF, io.ErrUnexpectedEOF, syscall.ECONNREFUSED, syscall.ECONNRESET, syscall.EPIPE} {
		if errors.Is(err, gone) {
			return true
		}
	}
	return client.IsErrConnectionFailed(err)
}

// foreign tells an engine that speaks other versions than the one that was
// agreed on before. It has no code of its own, only these words.
func foreign(err error) bool {
	return strings.Contains(err.Error(), "client version") && strings.Contains(err.Error(), "API version")
}

// detail is the engine's own sentence, in one line and bounded.
func detail(err error) string {
	const most = 600
	if ours := (*appliance.Error)(nil); errors.As(err, &ours) && ours.Err != nil {
		err = ours.Err
	}
	s := strings.Join(strings.Fields(strings.TrimPrefix(err.Error(), "Error response from daemon: ")), " ")
	if len(s) > most {
		s = strings.ToValidUTF8(s[:most], "") + "..."
	}
	return s
}

// notThere tells whether the engine does not know what was asked for.
func notThere(err error) bool {
	return errdefs.IsNotFound(err) || appliance.IsProblem(err, "engine.not-there")
}
