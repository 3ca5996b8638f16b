// SPDX-License-Identifier: AGPL-3.0-or-later

package stacks

// EnglishWords gives title and fix of every problem, by id.
func EnglishWords() map[string][2]string {
	all := map[string][2]string{}
	for _, list := range [][]words{commonWords(), manifestWords(), composeWords()} {
		for _, w := range list {
			all[w.id] = [2]string{w.title, w.fix}
		}
	}
	return all
}
