// SPDX-License-Identifier: MIT

//go:build !linux || 386 || s390x

package sock

import "github.com/seed17199236/svcfuzz/target/kernel"

// realSock is what the real network keeps in a socket.
type realSock struct{}

// NewRealNet makes a namespace of real loopback sockets, for which it needs Linux: -EOPNOTSUPP.
func NewRealNet(*kernel.Machine) (*Net, int) { return nil, -kernel.EOPNOTSUPP }
