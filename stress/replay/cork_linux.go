// SPDX-License-Identifier: MIT

package replay

import (
	"net"
	"syscall"
)

// cork keeps back what is written until the end of the stream goes with it.
func cork(conn *net.TCPConn) error {
	raw, err := conn.SyscallConn()
	if err != nil {
		return err
	}
	var inner error
	err = raw.Control(func(fd uintptr) {
		inner = syscall.SetsockoptInt(int(fd), syscall.IPPROTO_TCP, syscall.TCP_CORK, 1)
	})
	if err != nil {
		return err
	}
	return inner
}
