// SPDX-License-Identifier: AGPL-3.0-or-later

package host

import "testing"

// tables are lines as kernels print them; the second is IPv6.
const (
	tcpTable = `  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 0100007F:0277 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 18520 1 0000000000000000 100 0 0 10 0
   1: 00000000:08AE 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 20001 1 0000000000000000 100 0 0 10 0
   2: 07710ACB:0016 0A00A8C0:D1F4 01 00000000:00000000 02:000A7D8C 00000000     0        0 20777 4 0000000000000000 20 4 31 10 -1
   3: garbage
`
	tcp6Table = `  sl  local_address                         remote_address                        st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 00000000000000000000000000000000:0050 00000000000000000000000000000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 20002 1 0000000000000000 100 0 0 10 0
   1: 0000000000000000FFFF00000100007F:1F90 00000000000000000000000000000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 20003 1 0000000000000000 100 0 0 10 0
`
)

func TestSockets(t *testing.T) {
	list := append(parseSockets([]byte(tcpTable), "tcp"), parseSockets([]byte(tcp6Table), "tcp")...)
	want := []struct {
		local     string
		listening bool
		loopback  bool
	}{
		{"127.0.0.1:631", true, true}, {"0.0.0.0:2222", true, false}, {"203.10.113.7:22", false, false},
		{"[::]:80", true, false}, {"127.0.0.1:8080", true, true},
	}
	if len(list) != len(want) {
		t.Fatalf("got %d sockets: %v", len(list), list)
	}
	for i, w := range want {
		if s := list[i]; s.Local.String() != w.local || s.Listening != w.listening || s.Loopback() != w.loopback {
			t.Errorf("socket %d: got %+v, want %+v", i, s, w)
		}
	}
}
