// SPDX-License-Identifier: AGPL-3.0-or-later

//go:build !failpoints

package step

// failpoint does nothing in a product build.
func failpoint(plan, step, when string) {}
