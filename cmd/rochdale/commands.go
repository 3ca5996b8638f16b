// SPDX-License-Identifier: AGPL-3.0-or-later

package main

import "github.com/spf13/cobra"

// commands are all that the binary can do, a line for each file.
func commands(a *app) []*cobra.Command {
	return []*cobra.Command{
		newInstallCommand(a),
		newUninstallCommand(a),
		newStatusCommand(a),
		newDoctorCommand(a),
		newLogsCommand(a),
		newStackCommand(a),
		newUpdateCommand(a),
		newBackupCommand(a),
		newRestoreCommand(a),
		newRecoveryCommand(a),
		newRecoverCommand(a),
		newJobCommand(a),
		newSelfCommand(a),
		newVersionCommand(a),
		newCompletionCommand(a),
		newManCommand(a),
		failing(newDaemonCommand(a)),
		newEdgeCommand(a),
		newFirewallCommand(a),
		newGuardCommand(a),
		newMigrateCommand(a),
	}
}
