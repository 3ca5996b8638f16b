// SPDX-License-Identifier: AGPL-3.0-or-later

package engine_test

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestMain lets the test binary be the program in the test containers too.
func TestMain(m *testing.M) {
	if len(os.Args) > 2 && os.Args[1] == "as-service" {
		os.Exit(asService(os.Args[2], os.Args[3:]))
	}
	os.Exit(m.Run())
}

func asService(verb string, args []string) int {
	switch verb {
	case "serve": // answers on 8080 until SIGTERM
		return serve()
	case "deaf": // runs, answers nothing and does not hear SIGTERM
		signal.Ignore(syscall.SIGTERM)
		fmt.Println("I hear nothing")
		time.Sleep(time.Hour)
	case "exit": // prints 25 lines and ends
		for i := range 25 {
			fmt.Printf("line %d\n", i+1)
		}
		code, _ := strconv.Atoi(args[0])
		return code
	case "eat":
		fmt.Println("I am hungry")
		mb, _ := strconv.Atoi(args[0])
		eat(mb)
	case "say":
		fmt.Println(strings.Join(args, " "))
	case "yell":
		for range 100_000 {
			fmt.Println("aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa")
		}
	case "postgres": // becomes a database server
		return servePostgres(args[0])
	case "fetch": // prints what an address answers
		return fetch(args[0])
	}
	return 0
}

func serve() int {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	mux := http.NewServeMux()
	mux.HandleFunc("/healthz", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "ok") })
	mux.HandleFunc("/facts", func(w http.ResponseWriter, _ *http.Request) { _ = json.NewEncoder(w).Encode(gather()) })
	mux.HandleFunc("/eat", func(w http.ResponseWriter, r *http.Request) {
		mb, _ := strconv.Atoi(r.FormValue("mb"))
		eat(mb)
	})
	server := &http.Server{Addr: ":8080", Handler: mux, ReadHeaderTimeout: 5 * time.Second}
	go func() {
		fmt.Println("I listen")
		if err := server.ListenAndServe(); !errors.Is(err, http.ErrServerClosed) {
			fmt.Println(err)
			os.Exit(1)
		}
	}()
	<-ctx.Done()
	fmt.Println("goodbye")
	return 0
}

func fetch(url string) int {
	client := http.Client{Timeout: 3 * time.Second}
	resp, err := client.Get(url)
	if err != nil {
		fmt.Println(err)
		return 1
	}
	defer resp.Body.Close()
	body, _ := io.ReadAll(resp.Body)
	fmt.Print(string(body))
	if resp.StatusCode != http.StatusOK {
		return 1
	}
	return 0
}

// eat holds memory and touches every page of it.
func eat(mb int) {
	for range mb {
		page := make([]byte, 1<<20)
		for i := 0; i < len(page); i += 4096 {
			page[i] = 1
		}
		eaten = append(eaten, page)
	}
}

var eaten [][]byte

// facts are what a container finds out about its own cage.
type facts struct {
	UID, GID   int
	Status     map[string]string // of /proc/self/status
	Hostname   string
	Env        map[string]string
	RootWrite  string // error of writing somewhere
	TmpWrite   string
	TmpExec    string
	DataWrite  string
	ConfWrite  string
	Secret     string
	SecretOpen string
	OOMScore   string
	CoreLimit  uint64
}

func gather() facts {
	f := facts{UID: os.Getuid(), GID: os.Getgid(), Status: status(), Env: map[string]string{}}
	f.Hostname, _ = os.Hostname()
	for _, kv := range os.Environ() {
		k, v, _ := strings.Cut(kv, "=")
		f.Env[k] = v
	}
	f.RootWrite = write("/somewhere")
	f.TmpWrite = write("/tmp/file")
	f.TmpExec = run("/tmp/file")
	f.DataWrite = write("/data/file")
	f.ConfWrite = write("/conf/file")
	f.SecretOpen = write("/run/secrets/key")
	secret, _ := os.ReadFile("/run/secrets/key")
	f.Secret = string(secret)
	score, _ := os.ReadFile("/proc/self/oom_score_adj")
	f.OOMScore = strings.TrimSpace(string(score))
	var limit syscall.Rlimit
	_ = syscall.Getrlimit(syscall.RLIMIT_CORE, &limit)
	f.CoreLimit = limit.Max
	return f
}

func write(path string) string {
	if err := os.WriteFile(path, []byte("#!/service\n"), 0o700); err != nil {
		return err.Error()
	}
	return ""
}

func run(path string) string {
	return syscall.Exec(path, []string{path}, nil).Error()
}

func status() map[string]string {
	m := map[string]string{}
	file, err := os.Open("/proc/self/status")
	if err != nil {
		return m
	}
	defer file.Close()
	for s := bufio.NewScanner(file); s.Scan(); {
		k, v, _ := strings.Cut(s.Text(), ":")
		m[k] = strings.TrimSpace(v)
	}
	return m
}
