// SPDX-License-Identifier: AGPL-3.0-or-later

// Command guest is what the tests run in a container and in machines: it serves a greeting, or takes memory until it is stopped.
package main

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"strconv"
)

func main() {
	switch {
	case len(os.Args) == 3 && os.Args[1] == "serve":
		http.HandleFunc("/", func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "hello from "+hostname()) })
		fmt.Fprintln(os.Stderr, http.ListenAndServe(os.Args[2], nil))
		os.Exit(1)
	case len(os.Args) == 3 && os.Args[1] == "take":
		take(os.Args[2])
	default:
		fmt.Println("hello")
	}
}

func hostname() string {
	name, err := os.Hostname()
	if err != nil {
		return err.Error()
	}
	return name
}

// take touches that many MB, one after the other, and says so.
func take(text string) {
	count, err := strconv.Atoi(text)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(2)
	}
	var held [][]byte
	for range count {
		block := make([]byte, 1<<20)
		for i := range block {
			block[i] = 1
		}
		held = append(held, block)
	}
	fmt.Println("took", len(held))
}
