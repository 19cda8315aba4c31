// SPDX-License-Identifier: MIT

//go:build !linux

package peers

import "context"

// isolated needs namespaces, which Linux alone has.
func isolated(string, func(context.Context, *Checks) error) func(context.Context, *Checks) error {
	return func(context.Context, *Checks) error {
		return notAvailable("network namespaces: this system has none; run it on Linux")
	}
}

// Main does nothing: there is no part inside.
func Main() {}
