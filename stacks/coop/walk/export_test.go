// SPDX-License-Identifier: AGPL-3.0-or-later

package walk

// Pretend makes a scribe believe that this was acknowledged.
func (s *Scribe) Pretend(name string) { s.acked = append(s.acked, name) }

// Shops are the pages of the shops that a scribe has opened.
func (s *Scribe) Shops() (paths []string) {
	for _, x := range s.shops {
		paths = append(paths, x.path)
	}
	return paths
}
