// Command cluster starts, stops and shows a local Kubernetes cluster. It links no
// Kubernetes code, because the components are processes of the program kubebox, which
// lies beside it.
package main

import (
	"os"

	"gantry.invalid/local/internal/command"
)

func main() { os.Exit(command.Main(os.Args[1:])) }
