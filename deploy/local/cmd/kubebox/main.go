// Command kubebox holds every program of a local Kubernetes in one file: the control
// plane, an etcd, kubectl, KWOK and metrics-server, all from their published Go
// modules. One program needs only one build, and the processes share its memory pages.
// Each component still runs in a separate process, because each has process-wide state
// (flags, feature gates, the only signal handler).
//
//	kubebox kube-apiserver --help      # a component by its name
//	ln -s kubebox kubectl; ./kubectl   # or called by that name
package main

import (
	"fmt"
	"os"
	"path/filepath"
	"sort"
	"strings"
	_ "time/tzdata" // CronJob time zones where the machine has no zoneinfo

	"github.com/spf13/cobra"
	"k8s.io/component-base/cli"
	_ "k8s.io/component-base/logs/json/register"          // --logging-format=json
	_ "k8s.io/component-base/metrics/prometheus/clientgo" // client-go metrics
	_ "k8s.io/component-base/metrics/prometheus/version"  // kubernetes_build_info
	kubectl "k8s.io/kubectl/pkg/cmd"
	kubectlutil "k8s.io/kubectl/pkg/cmd/util"
	apiserver "k8s.io/kubernetes/cmd/kube-apiserver/app"
	controllers "k8s.io/kubernetes/cmd/kube-controller-manager/app"
	scheduler "k8s.io/kubernetes/cmd/kube-scheduler/app"
)

// tools maps a component's name to its main function, which gets the arguments
// after the name and returns the exit status.
var tools = map[string]func(args []string) int{
	"etcd":                    runEtcd,
	"kube-apiserver":          component(func() *cobra.Command { return apiserver.NewAPIServerCommand() }),
	"kube-controller-manager": component(func() *cobra.Command { return controllers.NewControllerManagerCommand() }),
	"kube-scheduler":          component(func() *cobra.Command { return scheduler.NewSchedulerCommand() }),
	"kubectl":                 runKubectl,
	"kwok":                    runKwok,
	"metrics-server":          runMetricsServer,
}

// component delays the construction of the command, because construction registers
// flags, feature gates and a signal handler. That must happen for one component only.
func component(build func() *cobra.Command) func([]string) int {
	return func(args []string) int {
		command := build()
		command.SetArgs(args)
		return cli.Run(command)
	}
}

// runKubectl ignores its arguments because kubectl reads os.Args, which main has set.
func runKubectl([]string) int {
	if err := cli.RunNoErrOutput(kubectl.NewDefaultKubectlCommand()); err != nil {
		kubectlutil.CheckErr(err) // prints and exits
	}
	return 0
}

func main() {
	name, args := filepath.Base(os.Args[0]), os.Args[1:]
	tool, found := tools[name]
	if !found && len(args) > 0 {
		name, args = args[0], args[1:]
		tool, found = tools[name]
	}
	if !found {
		names := make([]string, 0, len(tools))
		for n := range tools {
			names = append(names, n)
		}
		sort.Strings(names)
		fmt.Fprintf(os.Stderr, "usage: kubebox (%s) [flags]\n", strings.Join(names, " | "))
		os.Exit(2)
	}
	// Components print os.Args[0] and some parse os.Args again, so they must see only
	// their own arguments.
	os.Args = append([]string{name}, args...)
	os.Exit(tool(args))
}
