// SPDX-License-Identifier: AGPL-3.0-or-later

package main

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/spf13/cobra"

	"rochdale/appliance"
)

// TestExitCodesPage holds the operator's page against the constants.
func TestExitCodesPage(t *testing.T) {
	page, err := os.ReadFile("../../docs/exit-codes.md")
	if err != nil {
		t.Fatal(err)
	}
	var got []int
	for _, m := range regexp.MustCompile(`(?m)^\| (\d+) \|`).FindAllStringSubmatch(string(page), -1) {
		n, err := strconv.Atoi(m[1])
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, n)
	}
	want := []int{
		appliance.ExitOK, appliance.ExitUnexpected, appliance.ExitUsage, appliance.ExitWarnings, appliance.ExitNotThere,
		appliance.ExitLocked, appliance.ExitCheckFailed, appliance.ExitSignature, appliance.ExitInterrupted,
	}
	if !slices.Equal(got, want) {
		t.Errorf("the page has %v, the constants are %v", got, want)
	}
}

const commandsIntro = `# Commands

This page is made from the program's own help: ` + "`go test ./cmd/rochdale -run CommandsPage -update`" + `.

The answer goes to standard output, the talk around it (progress, findings, errors) to standard error. With ` + "`--json`" + ` everything goes
to standard output: a command with one answer prints one object; a command that takes its time prints JSON lines, each with its
` + "`type`" + `: plan, finding, event, log, result, error. JSON only ever gains fields. Colours follow NO_COLOR. How a command ended is in
[its exit code](exit-codes.md).

Texts are in English, Spanish or French: ` + "`--lang`, else `language` in `rochdale.yaml` (English where it names none), else, where nothing is installed, LC_ALL, LC_MESSAGES or LANG" + `. ROCHDALE_ROOT names
another folder than / to look for the files of an installation, for machines that are prepared from outside.

`

// TestCommandsPage holds the operator's page against the commands.
func TestCommandsPage(t *testing.T) {
	a, _ := testApp(false, nil)
	root := newRootCommand(a)
	var page bytes.Buffer
	page.WriteString(commandsIntro)
	var global bytes.Buffer
	a.helpFlags(&global, "", root.PersistentFlags())
	fmt.Fprintf(&page, "## Flags of every command\n\n```\n%s\n```\n", strings.Trim(global.String(), "\n"))
	describeCommands(&page, a, root)
	golden(t, "../../../docs/commands.md", page.Bytes())
}

func describeCommands(w io.Writer, a *app, above *cobra.Command) {
	for _, c := range above.Commands() {
		if !c.IsAvailableCommand() || c.Name() == "help" {
			continue
		}
		fmt.Fprintf(w, "\n## %s\n\n%s.", c.CommandPath(), strings.TrimSuffix(c.Short, "."))
		if c.Long != "" {
			fmt.Fprintf(w, " %s", strings.TrimSpace(c.Long))
		}
		fmt.Fprintf(w, "\n\n```\n%s\n", useLine(c))
		if c.Example != "" {
			fmt.Fprintf(w, "\n%s\n%s\n", a.t("help.word.examples"), indent(c.Example))
		}
		a.helpFlags(w, a.t("help.word.flags"), c.LocalNonPersistentFlags())
		fmt.Fprintln(w, "```")
		describeCommands(w, a, c)
	}
}

// TestHelpIsComplete wants every command and every flag to have a text in each
// language, hidden commands included.
func TestHelpIsComplete(t *testing.T) {
	for _, lang := range []string{"en", "es", "fr"} {
		a, _ := testApp(false, nil, "--lang", lang)
		checkHelp(t, a, newRootCommand(a))
	}
}

var bareID = regexp.MustCompile(`^(help|flag)\.`)

func checkHelp(t *testing.T, a *app, c *cobra.Command) {
	t.Helper()
	if c.Short == "" || bareID.MatchString(c.Short) {
		t.Errorf("%s has no short help in %s", c.CommandPath(), a.lang)
	}
	var flags bytes.Buffer
	a.helpFlags(&flags, "", c.LocalFlags())
	if strings.Contains(flags.String(), " flag.") {
		t.Errorf("%s has a flag without help in %s:\n%s", c.CommandPath(), a.lang, flags.String())
	}
	for _, below := range c.Commands() {
		checkHelp(t, a, below)
	}
}
