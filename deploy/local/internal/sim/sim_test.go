package sim

import (
	"regexp"
	"strings"
	"testing"
)

func TestConfigurationIsFilledIn(t *testing.T) {
	text := Configuration("v9.9.9")
	if left := regexp.MustCompile(`@[a-zA-Z]+@`).FindString(text); left != "" {
		t.Fatalf("%s is left", left)
	}
	if !strings.Contains(text, "kubeletVersion: v9.9.9") {
		t.Fatal("the version is missing")
	}
}

// KWOK chooses at random when two stages match, so a pod that is being deleted must
// match the last stage only.
func TestStagesLeaveDeletedPodsAlone(t *testing.T) {
	for _, stage := range strings.Split(stages, "\n---\n") {
		if strings.Contains(stage, "kind: Pod}") &&
			!strings.Contains(stage, "{key: .metadata.deletionTimestamp, operator: DoesNotExist}") &&
			!strings.Contains(stage, "{name: pod-delete}") {
			t.Errorf("this stage touches pods that are being deleted:\n%s", stage)
		}
	}
}

// The whole of image.tmpl becomes one line, and its strings must survive that.
func TestImageErrorHasNoDoubleSpaces(t *testing.T) {
	for _, text := range regexp.MustCompile(`"(\\.|[^"\\])*"`).FindAllString(imageError, -1) {
		if strings.Contains(text, "  ") || strings.ContainsAny(text, "\t\n") {
			t.Errorf("%s would change", text)
		}
	}
}
