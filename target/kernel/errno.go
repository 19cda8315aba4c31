// SPDX-License-Identifier: MIT

package kernel

import "strconv"

// Error numbers as Linux has them (include/uapi/asm-generic/errno*.h). Functions return them negated.
const (
	EPERM           = 1
	ENOENT          = 2
	EINTR           = 4
	EIO             = 5
	EBADF           = 9
	EAGAIN          = 11
	ENOMEM          = 12
	EACCES          = 13
	EFAULT          = 14
	EBUSY           = 16
	EEXIST          = 17
	ENODEV          = 19
	EISDIR          = 21
	EINVAL          = 22
	ENOSPC          = 28
	EPIPE           = 32
	EDEADLK         = 35
	ENAMETOOLONG    = 36
	ENOLCK          = 37
	EPROTO          = 71
	EOVERFLOW       = 75
	EMSGSIZE        = 90
	ENOPROTOOPT     = 92
	EPROTONOSUPPORT = 93
	EOPNOTSUPP      = 95
	EPFNOSUPPORT    = 96
	EAFNOSUPPORT    = 97
	EADDRINUSE      = 98
	EADDRNOTAVAIL   = 99
	ENETUNREACH     = 101
	ECONNABORTED    = 103
	ECONNRESET      = 104
	ENOBUFS         = 105
	EISCONN         = 106
	ENOTCONN        = 107
	ETIMEDOUT       = 110
	ECONNREFUSED    = 111
	EHOSTDOWN       = 112
	EHOSTUNREACH    = 113
	EALREADY        = 114
	EINPROGRESS     = 115
	ESTALE          = 116
	ERESTARTSYS     = 512
	EBADHANDLE      = 521
)

var errNames = map[int]string{
	EPERM: "EPERM", ENOENT: "ENOENT", EINTR: "EINTR", EIO: "EIO", EAGAIN: "EAGAIN", ENOMEM: "ENOMEM",
	EACCES: "EACCES", EFAULT: "EFAULT", EBUSY: "EBUSY", EEXIST: "EEXIST", ENODEV: "ENODEV", EINVAL: "EINVAL", ENOSPC: "ENOSPC",
	EPIPE: "EPIPE", ENAMETOOLONG: "ENAMETOOLONG", EPROTO: "EPROTO", EOVERFLOW: "EOVERFLOW", EMSGSIZE: "EMSGSIZE",
	ENOPROTOOPT: "ENOPROTOOPT", EPROTONOSUPPORT: "EPROTONOSUPPORT", EOPNOTSUPP: "EOPNOTSUPP",
	EAFNOSUPPORT: "EAFNOSUPPORT", EADDRINUSE: "EADDRINUSE", EADDRNOTAVAIL: "EADDRNOTAVAIL",
	ENETUNREACH: "ENETUNREACH", ECONNABORTED: "ECONNABORTED", ECONNRESET: "ECONNRESET", EISCONN: "EISCONN",
	ENOTCONN: "ENOTCONN", ETIMEDOUT: "ETIMEDOUT", ECONNREFUSED: "ECONNREFUSED", EHOSTUNREACH: "EHOSTUNREACH",
	EALREADY: "EALREADY", EINPROGRESS: "EINPROGRESS", EBADF: "EBADF", EISDIR: "EISDIR", EDEADLK: "EDEADLK",
	ENOLCK: "ENOLCK", ESTALE: "ESTALE", ERESTARTSYS: "ERESTARTSYS", EBADHANDLE: "EBADHANDLE", EPFNOSUPPORT: "EPFNOSUPPORT",
	ENOBUFS: "ENOBUFS", EHOSTDOWN: "EHOSTDOWN",
}

// ErrName spells a function result: "0", "-ENOMEM", or the number if it is no known errno.
//
//go:norace
func ErrName(res int) string {
	if name, ok := errNames[-res]; ok && res < 0 {
		return "-" + name
	}
	return strconv.Itoa(res)
}
