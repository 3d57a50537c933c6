package ports

import "testing"

func TestCandidatesLieOutsideTheRangeOfOutgoingConnections(t *testing.T) {
	for _, base := range candidates(32768, 60999) {
		if base+blockSize > 32768 && base <= 60999 {
			t.Fatalf("block %d lies inside the range", base)
		}
		if base < lowest || base+blockSize > 65536 {
			t.Fatalf("block %d is no block of ports", base)
		}
	}
	if n := len(candidates(1024, 65535)); n != 0 {
		t.Fatalf("%d blocks where none can be", n)
	}
}

func TestTwoInstancesNeverShareABlock(t *testing.T) {
	first, err := Take(0)
	if err != nil {
		t.Fatal(err)
	}
	defer first.Guard.Close()
	second, err := Take(first.Base) // prefers the very same one
	if err != nil {
		t.Fatal(err)
	}
	defer second.Guard.Close()
	if first.Base == second.Base {
		t.Fatalf("both have %d", first.Base)
	}
}

func TestTakeAgainGivesTheSameBlock(t *testing.T) {
	first, err := Take(0)
	if err != nil {
		t.Fatal(err)
	}
	first.Guard.Close()
	again, err := Take(first.Base)
	if err != nil {
		t.Fatal(err)
	}
	defer again.Guard.Close()
	if again.Base != first.Base {
		t.Fatalf("%d instead of %d", again.Base, first.Base)
	}
}
