package instance

import (
	"os"
	"path/filepath"
	"testing"
)

func TestAFolderOfOthersIsRefusedAndLeftAlone(t *testing.T) {
	root := t.TempDir()
	precious := filepath.Join(root, "pki")
	if err := os.WriteFile(precious, []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := (Dir{root}).Create(); err == nil {
		t.Fatal("accepted")
	}
	if _, err := os.Stat(precious); err != nil {
		t.Fatal("removed", err)
	}
}

func TestCleanKeepsWhatIsToBeKept(t *testing.T) {
	d := Dir{filepath.Join(t.TempDir(), "a b")}
	if err := d.Create(); err != nil {
		t.Fatal(err)
	}
	put := func(name string) {
		if err := os.MkdirAll(filepath.Dir(d.Path(name)), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(d.Path(name), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	there := func(name string) bool { _, err := os.Stat(d.Path(name)); return err == nil }
	for _, name := range []string{"etcd/member", "pki/ca.key", "logs/x.log", "notes.txt"} {
		put(name)
	}
	if err := d.Clean(true); err != nil {
		t.Fatal(err)
	}
	if !there("etcd/member") || !there("pki/ca.key") || there("logs/x.log") {
		t.Fatal("kept the wrong things")
	}
	if err := d.Clean(false); err != nil {
		t.Fatal(err)
	}
	if there("etcd/member") || there("pki/ca.key") || !there("notes.txt") {
		t.Fatal("removed the wrong things")
	}
}

func TestTheLockIsHeldOnce(t *testing.T) {
	d := Dir{t.TempDir()}
	release, held, err := d.Lock()
	if !held || err != nil {
		t.Fatal(held, err)
	}
	if _, held, _ := d.Lock(); held {
		t.Fatal("held twice")
	}
	release()
	release, held, err = d.Lock()
	if !held || err != nil {
		t.Fatal(held, err)
	}
	release()
}

func TestARecordIsReadBack(t *testing.T) {
	d := Dir{t.TempDir()}
	if r := d.Load(); r.State != "" {
		t.Fatal("a record out of nothing")
	}
	if err := d.Save(Record{State: Ready, Nodes: 7}); err != nil {
		t.Fatal(err)
	}
	if r := d.Load(); r.State != Ready || r.Nodes != 7 {
		t.Fatal(r)
	}
}
