// SPDX-License-Identifier: MIT

//go:build !race

package portfolio

const slow = 1
