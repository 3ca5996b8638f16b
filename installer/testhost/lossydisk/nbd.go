// SPDX-License-Identifier: AGPL-3.0-or-later

package lossydisk

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
)

// The numbers of the NBD protocol:
// https://github.com/NetworkBlockDevice/nbd/blob/master/doc/proto.md
const (
	magicServer  = 0x4e42444d41474943 // "NBDMAGIC"
	magicOption  = 0x49484156454f5054 // "IHAVEOPT"
	magicAnswer  = 0x0003e889045565a9
	magicRequest = 0x25609513
	magicReply   = 0x67446698

	fixedNewstyle = 1 << 0
	noZeroes      = 1 << 1

	optExport = 1
	optAbort  = 2
	optInfo   = 6
	optGo     = 7

	answerAck         = 1
	answerInfo        = 3
	answerUnsupported = 1<<31 + 1

	hasFlags  = 1 << 0
	sendFlush = 1 << 2
	sendFUA   = 1 << 3

	cmdRead  = 0
	cmdWrite = 1
	cmdLeave = 2
	cmdFlush = 3
	flagFUA  = 1 << 0

	errnoInvalid = 22

	maxRequest = 32 << 20 // bytes; no client of the protocol sends more unasked
	maxOption  = 4 << 10
	zeroes     = 124 // bytes that an old client wants after the export
)

// Serve answers clients until the listener is closed and they are gone. A client whose request
// comes after the power went gets no answer, and no end of the connection
// either: a machine without power hears nothing.
func (d *Disk) Serve(l net.Listener) error {
	var clients sync.WaitGroup
	defer clients.Wait()
	for {
		conn, err := l.Accept()
		if errors.Is(err, net.ErrClosed) {
			return nil
		}
		if err != nil {
			return err
		}
		clients.Go(func() {
			defer conn.Close()
			if errors.Is(d.talk(conn), errDark) {
				_, _ = io.Copy(io.Discard, conn) // until the client is gone
			}
		})
	}
}

// talk serves one client to its end.
func (d *Disk) talk(conn io.ReadWriter) error {
	ready, err := d.greet(conn)
	for err == nil && ready {
		ready, err = d.answer(conn)
	}
	return err
}

// greet is the fixed newstyle handshake. ready is false for a client that only
// wanted to look.
func (d *Disk) greet(conn io.ReadWriter) (ready bool, err error) {
	if err := send(conn, uint64(magicServer), uint64(magicOption), uint16(fixedNewstyle|noZeroes)); err != nil {
		return false, err
	}
	var flags uint32
	if err := receive(conn, &flags); err != nil {
		return false, err
	}
	for {
		var o struct {
			Magic       uint64
			Option, Len uint32
		}
		if err := receive(conn, &o); err != nil {
			return false, err
		}
		if o.Magic != magicOption || o.Len > maxOption {
			return false, fmt.Errorf("an option with magic %#x and %d bytes", o.Magic, o.Len)
		}
		if _, err := io.CopyN(io.Discard, conn, int64(o.Len)); err != nil {
			return false, err
		}
		switch over, err := d.option(conn, o.Option, flags); {
		case err != nil || over:
			return o.Option != optAbort, err
		}
	}
}

// option answers one option and tells whether it was the last one. There is one
// export, whatever name it is asked for by.
func (d *Disk) option(conn io.Writer, option, flags uint32) (over bool, err error) {
	answer := func(kind uint32, data ...any) error {
		size := 0
		for _, v := range data {
			size += binary.Size(v)
		}
		return send(conn, append([]any{uint64(magicAnswer), option, kind, uint32(size)}, data...)...)
	}
	export := []any{uint64(d.Size()), uint16(hasFlags | sendFlush | sendFUA)}
	switch option {
	case optExport:
		if flags&noZeroes == 0 {
			export = append(export, make([]byte, zeroes))
		}
		return true, send(conn, export...)
	case optAbort:
		return true, answer(answerAck)
	case optInfo, optGo:
		err := errors.Join(answer(answerInfo, append([]any{uint16(0)}, export...)...), answer(answerAck))
		return option == optGo, err
	default:
		return false, answer(answerUnsupported)
	}
}

// answer serves one request and tells whether more may come.
func (d *Disk) answer(conn io.ReadWriter) (more bool, err error) {
	var q struct {
		Magic       uint32
		Flags, Kind uint16
		Cookie      uint64
		At          int64
		Len         uint32
	}
	if err := receive(conn, &q); err != nil {
		return false, err
	}
	if q.Magic != magicRequest || q.Len > maxRequest {
		return false, fmt.Errorf("a request with magic %#x and %d bytes", q.Magic, q.Len)
	}
	data := make([]byte, 0)
	switch q.Kind {
	case cmdLeave:
		return false, nil
	case cmdFlush:
		err = d.flush()
	case cmdRead:
		data = make([]byte, q.Len)
		err = d.read(data, q.At)
	case cmdWrite:
		in := make([]byte, q.Len)
		if err := receive(conn, in); err != nil {
			return false, err
		}
		err = d.write(in, q.At, q.Flags&flagFUA != 0)
	default:
		err = errBounds
	}
	if errors.Is(err, errDark) {
		return false, err
	}
	if err != nil {
		return true, send(conn, uint32(magicReply), uint32(errnoInvalid), q.Cookie)
	}
	return true, send(conn, uint32(magicReply), uint32(0), q.Cookie, data)
}

// send writes values in one piece: another end that reads slowly sees no half of them.
func send(to io.Writer, values ...any) error {
	var all []byte
	for _, v := range values {
		var err error
		if all, err = binary.Append(all, binary.BigEndian, v); err != nil {
			return err
		}
	}
	_, err := to.Write(all)
	return err
}

func receive(from io.Reader, value any) error { return binary.Read(from, binary.BigEndian, value) }
