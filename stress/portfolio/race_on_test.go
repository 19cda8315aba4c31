// SPDX-License-Identifier: MIT

//go:build race

package portfolio

// slow is by how much fewer schedules the tests run: a schedule takes so much longer under the race detector. It also
// says that a careless administrator is not to be let loose, of whom the detector has its own opinion.
const slow = 10
