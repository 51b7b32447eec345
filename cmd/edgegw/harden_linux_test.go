package main

import (
	"fmt"
	"os"
	"regexp"
	"testing"

	"edgegw/fiscal/sandbox"
)

// TestRunLeavesNoCoreDump reads the limits of a gateway that runs.
func TestRunLeavesNoCoreDump(t *testing.T) {
	t.Parallel()
	flags, _ := uplink(t, sandbox.Options{})
	b := newBox(t, flags...)
	b.start()
	limits, err := os.ReadFile(fmt.Sprintf("/proc/%d/limits", b.pid))
	if err != nil {
		t.Fatal(err)
	}
	if !regexp.MustCompile(`(?m)^Max core file size +0 +0 `).Match(limits) {
		t.Errorf("a core dump is possible:\n%s", limits)
	}
}
