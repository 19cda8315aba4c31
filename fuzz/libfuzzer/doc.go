// SPDX-License-Identifier: MIT

//go:build !(libfuzzer && gofuzz)

// Command libfuzzer is empty without its build tags; see main.go.
package main

func main() {}
