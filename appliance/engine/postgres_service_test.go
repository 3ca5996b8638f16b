// SPDX-License-Identifier: AGPL-3.0-or-later

package engine_test

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
)

// servePostgres becomes a PostgreSQL on the volume /rows, as the entry point of a
// usual image does; programs are in bin.
func servePostgres(bin string) int {
	const rows = "/rows/cluster"
	if _, err := os.Stat(filepath.Join(rows, "PG_VERSION")); err != nil {
		begin := exec.Command(filepath.Join(bin, "initdb"), "-D", rows, "-U", "coop", "--auth=scram-sha-256",
			"--pwfile=/run/secrets/database-password", "--locale=C", "--encoding=UTF8")
		begin.Stdout, begin.Stderr = os.Stdout, os.Stderr
		if err := errors.Join(begin.Run(), letIn(filepath.Join(rows, "pg_hba.conf"))); err != nil {
			fmt.Println(err)
			return 1
		}
	}
	server := filepath.Join(bin, "postgres")
	fmt.Println(syscall.Exec(server, []string{server, "-D", rows, "-c", "listen_addresses=*", "-c", "unix_socket_directories=/run/postgresql"}, os.Environ()))
	return 1
}

func letIn(file string) error {
	f, err := os.OpenFile(file, os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_, err = f.WriteString("host all all all scram-sha-256\n")
	return errors.Join(err, f.Close())
}
