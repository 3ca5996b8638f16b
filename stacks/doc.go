// SPDX-License-Identifier: AGPL-3.0-or-later

// Package stacks says what a stack is: its manifest, the containers that its
// compose file asks for, and what a stack may never ask for.
//
// It imports nothing else of ours. It must never start anything, reach the
// network, or know how the appliance runs a container.
package stacks
