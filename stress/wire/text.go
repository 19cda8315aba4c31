// SPDX-License-Identifier: MIT

package wire

import _ "embed" // the descriptions themselves

// The descriptions of the status monitor and of the lock manager, for other programs that generate decoders of them.
var (
	//go:embed sm.x
	SmX string
	//go:embed nlm.x
	NlmX string
)
