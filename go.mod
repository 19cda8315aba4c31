module github.com/seed17199236/svcfuzz

go 1.26

require (
	github.com/AdaLogics/go-fuzz-headers v0.0.0-20240806141605-e8a1dd7889d6
	github.com/anishathalye/porcupine v1.3.1
	github.com/bluekeyes/go-gitdiff v0.9.0
	github.com/davecgh/go-spew v1.1.1
	github.com/spf13/cobra v1.10.2
	github.com/spf13/pflag v1.0.9
	github.com/xdrpp/goxdr v0.1.1
	go.uber.org/goleak v1.3.0
)

require github.com/inconshreveable/mousetrap v1.1.0 // indirect

tool github.com/xdrpp/goxdr/cmd/goxdr
