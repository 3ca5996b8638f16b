// SPDX-License-Identifier: AGPL-3.0-or-later

package installer

import (
	"cmp"
	"slices"
	"strconv"
	"strings"
)

// versionLess tells whether version a comes before b. It reads "1.2.3",
// "1.3.0-rc1" (before 1.3.0) and the versions of packages, "5:27.1~deb12".
func versionLess(a, b string) bool {
	aNumbers, aPre := splitVersion(a)
	bNumbers, bPre := splitVersion(b)
	if c := slices.Compare(aNumbers, bNumbers); c != 0 {
		return c < 0
	}
	if (aPre == "") != (bPre == "") {
		return aPre != ""
	}
	return cmp.Compare(aPre, bPre) < 0
}

// splitVersion parts the leading numbers, without zeros at their end, from a
// pre-release label behind a dash. Build labels (+...) and what a distribution
// adds do not order versions.
func splitVersion(v string) (numbers []int, pre string) {
	if _, rest, epoch := strings.Cut(v, ":"); epoch {
		v = rest
	}
	v = strings.TrimPrefix(v, "v")
	v, _, _ = strings.Cut(v, "+")
	v, _, _ = strings.Cut(v, "~")
	v, pre, _ = strings.Cut(v, "-")
	for part := range strings.SplitSeq(v, ".") {
		n, err := strconv.Atoi(part)
		if err != nil {
			break
		}
		numbers = append(numbers, n)
	}
	for len(numbers) > 0 && numbers[len(numbers)-1] == 0 {
		numbers = numbers[:len(numbers)-1]
	}
	return numbers, pre
}
