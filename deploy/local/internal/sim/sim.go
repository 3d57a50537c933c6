// Package sim holds KWOK's configuration: how simulated nodes and pods live.
package sim

import (
	_ "embed"
	"runtime"
	"strings"
)

//go:embed stages.yaml
var stages string

//go:embed metrics.yaml
var metrics string

// imageError is the part of a template that works out, for one container
// (variable $c), whether its image can be pulled and what a container runtime
// says if not. Three stages need it, and KWOK's templates cannot share one.
//
//go:embed image.tmpl
var imageError string

// Configuration is KWOK's configuration file. The node port is in the nodes'
// status already; version is what the nodes call their kubelet's.
func Configuration(version string) string {
	return strings.NewReplacer(
		"@imageError@", strings.Join(strings.Fields(imageError), " "),
		"@unpullable@", unpullable,
		"@version@", version,
		"@arch@", runtime.GOARCH,
	).Replace(stages + "---\n" + metrics)
}

// unpullable is the jq expression that has a value if an image of the pod cannot
// be pulled; it must agree with image.tmpl.
const unpullable = `(.metadata.annotations["sim/image"] | select(. == "missing" or . == "unreachable" or . == "denied")), ` +
	`(.spec.containers[].image | select(test(":(missing|does-not-exist)$")))`
