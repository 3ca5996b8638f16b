// SPDX-License-Identifier: AGPL-3.0-or-later

package appliance

import "path/filepath"

// Owner says which machine this is. It is in no backup: the machine that takes
// over is another one.
func (p Paths) Owner() string { return filepath.Join(p.Var(), "owner.json") }

// Recovery is what is known of the printed pages and of the last kit. It holds no
// secret, and is in the backups.
func (p Paths) Recovery() string { return filepath.Join(p.ConfigDir(), "recovery.json") }

// KitFolder is where the last kit lies as it was sealed.
func (p Paths) KitFolder() string { return filepath.Join(p.Var(), "recovery") }

// SealedKit is the last kit.
func (p Paths) SealedKit() string { return filepath.Join(p.KitFolder(), KitName) }

// Proven is the print of the password that last opened a repository. Like the password
// itself it is root's alone; it is in no backup.
func (p Paths) Proven(name string) string { return filepath.Join(p.KitFolder(), name+".proven") }

// Rescue is where a recovery keeps what it needs until it has ended; only root can
// look into it.
func (p Paths) Rescue() string { return filepath.Join(p.Var(), "recover") }

// RescueKit is there while a recovery is under way.
func (p Paths) RescueKit() string { return filepath.Join(p.Rescue(), "kit.json") }

// RescuedStack says from which snapshot a recovery under way put a stack's data in place.
func (p Paths) RescuedStack(stack string) string {
	return filepath.Join(p.Rescue(), "stacks", stack+".json")
}
