// SPDX-License-Identifier: AGPL-3.0-or-later

// Package step makes every long operation a value: a [Plan] of named, idempotent
// steps that is shown before it runs, journalled while it runs, and gone on with
// after it was interrupted. Dry run, command-line progress, JSON events, the
// dashboard's progress and resume all come from this one engine.
//
// It imports nothing of ours. It must never know what a step does, where its
// journal is kept, or how an event is shown.
package step
