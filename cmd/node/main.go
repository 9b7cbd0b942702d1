// Command civitas runs a node and talks to the servers of a cluster. Programs
// with servers of their own build the same command with package app.
package main

import (
	"os"

	"github.com/civitas-go/civitas/cmd/node/app"
)

func main() { os.Exit(app.Main(app.Options{})) }
