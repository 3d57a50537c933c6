// Package command holds the commands up, down, status and env.
package command

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"gantry.invalid/local/internal/instance"
	"gantry.invalid/local/internal/node"
	"gantry.invalid/local/internal/plane"
)

// Version is the version of Kubernetes, set by the linker.
var Version = "v0.0.0"

// me is the name of this tool in messages.
const me = "deploy/local/cluster"

// Exit statuses.
const (
	ok     = 0
	failed = 1
	usage  = 2
	cannot = 3 // this machine allows no real node
)

const overview = `A real Kubernetes control plane on this machine, with simulated nodes and pods.

  deploy/local/cluster up [--dir D] [--nodes N] [--detach] [--keep] [--real-node]
  deploy/local/cluster status [--dir D]
  deploy/local/cluster env [--dir D]        # eval "$(deploy/local/cluster env)"
  deploy/local/cluster down [--dir D]
  deploy/local/cluster build [--real-node]  # "up" does it too, once

COMMAND --help says more. deploy/local/README.md says how to steer pods.
`

const dirHelp = "  --dir D      the cluster's folder; each folder is a separate cluster\n" +
	"               (default: ${XDG_STATE_HOME:-~/.local/state}/gantry/local)\n"

var helps = map[string]string{
	"up": `usage: deploy/local/cluster up [--dir D] [--nodes N] [--detach] [--keep] [--real-node]

Starts a cluster and says "ready" once all nodes are Ready and metrics answer.
In the foreground until Ctrl-C; everything it started ends with it.

` + dirHelp + `  --nodes N    simulated nodes (default 10: room for 2,500 pods)
  --detach     return once ready; the cluster goes on until "down"
  --keep       keep the objects of the last run in this folder (default: start empty)
  --real-node  one more node, real-1, with a real kubelet and containers; needs
               root. Pods go there only if they tolerate its taint gantry.dev/real
  --apiserver-arg F, --controller-arg F, --scheduler-arg F
               one more flag of that component, say --apiserver-arg=--v=4 (repeatable)

On a folder whose cluster runs: with --detach it says so and succeeds if that
cluster is ready, without it fails.
`,
	"down": `usage: deploy/local/cluster down [--dir D]

Stops the cluster in order and waits until everything has ended. Nothing to stop
is a success. The folder stays, with its logs.

` + dirHelp,
	"status": `usage: deploy/local/cluster status [--dir D]

Says whether the cluster runs and what each part takes. Exit status 0: ready;
1: not ready, not running or failed (it says why).

` + dirHelp,
	"env": `usage: eval "$(deploy/local/cluster env [--dir D])"

Prints the lines that point a shell, and kubectl in it, at the cluster.
Fails if the cluster does not run.

` + dirHelp,
}

// Main runs one command and returns the exit status.
func Main(args []string) int {
	if len(args) == 0 || args[0] == "help" || args[0] == "-h" || args[0] == "--help" {
		fmt.Print(overview)
		return ok
	}
	if args[0] == node.Command {
		return node.Inside(args[1:])
	}
	run, found := map[string]func(options) int{"up": up, "down": down, "status": status, "env": env, tryNode: try}[args[0]]
	if !found {
		fmt.Fprintf(os.Stderr, "%s: unknown command %q; there are: up, down, status, env, build\n", me, args[0])
		return usage
	}
	o, err := parse(args[0], args[1:])
	if errors.Is(err, flag.ErrHelp) {
		fmt.Print(helps[args[0]])
		return ok
	}
	if err != nil {
		fmt.Fprintf(os.Stderr, "%s %s: %v (%s %s --help)\n", me, args[0], err, me, args[0])
		return usage
	}
	return run(o)
}

// options are the options of all commands.
type options struct {
	dir       instance.Dir
	given     string // --dir as it was given, for messages
	nodes     int
	nodesSet  bool
	detach    bool
	detached  bool // this is the supervisor that "up --detach" has started
	keep      bool
	realNode  bool
	extra     map[string][]string
	arguments []string
}

// repeated is a flag that may be given several times.
type repeated []string

func (l *repeated) String() string     { return strings.Join(*l, " ") }
func (l *repeated) Set(s string) error { *l = append(*l, s); return nil }

func parse(name string, args []string) (o options, err error) {
	fs := flag.NewFlagSet(name, flag.ContinueOnError)
	fs.SetOutput(io.Discard)
	dir := fs.String("dir", "", "")
	var api, controllers, scheduler repeated
	if name == "up" {
		fs.IntVar(&o.nodes, "nodes", 10, "")
		fs.BoolVar(&o.detach, "detach", false, "")
		fs.BoolVar(&o.detached, "detached", false, "")
		fs.BoolVar(&o.keep, "keep", false, "")
		fs.BoolVar(&o.realNode, "real-node", false, "")
		fs.Var(&api, "apiserver-arg", "")
		fs.Var(&controllers, "controller-arg", "")
		fs.Var(&scheduler, "scheduler-arg", "")
	}
	if err := fs.Parse(args); err != nil {
		return o, err
	}
	if fs.NArg() > 0 {
		return o, fmt.Errorf("unexpected argument %q", fs.Arg(0))
	}
	fs.Visit(func(f *flag.Flag) { o.nodesSet = o.nodesSet || f.Name == "nodes" })
	if name == "up" && (o.nodes < 1 || o.nodes > 1000) {
		return o, fmt.Errorf("--nodes %d: give 1 to 1000", o.nodes)
	}
	o.extra = map[string][]string{plane.APIServer: api, plane.Controllers: controllers, plane.Scheduler: scheduler}
	o.given, o.arguments = *dir, args
	o.dir, err = instance.Open(*dir)
	return o, err
}

// again returns a command line for this cluster, for messages.
func (o options) again(name string) string {
	if o.given == "" {
		return me + " " + name
	}
	return me + " " + name + " --dir " + quoteIfNeeded(o.given)
}

// complain prints one error and returns the exit status of a failure.
func complain(format string, args ...any) int {
	fmt.Fprintln(os.Stderr, me+": "+fmt.Sprintf(format, args...))
	return failed
}

// programs is the folder that holds this program, kubebox and bin/kubectl.
func programs() (string, error) {
	self, err := os.Executable()
	if err != nil {
		return "", err
	}
	self, err = filepath.EvalSymlinks(strings.TrimSuffix(self, " (deleted)"))
	return filepath.Dir(self), err
}

// quote quotes any text for a shell.
func quote(s string) string { return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'" }

func quoteIfNeeded(s string) string {
	if strings.ContainsAny(s, " \t\n'\"\\$`&|;<>()*?[]#~!{}") {
		return quote(s)
	}
	return s
}
