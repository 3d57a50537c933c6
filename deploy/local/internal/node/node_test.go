package node

import (
	"archive/tar"
	"compress/gzip"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"
)

func TestHierarchiesOfBothVersions(t *testing.T) {
	mixed := parseHierarchies("9:name=systemd:/\n4:memory:/a/b\n1:cpu,cpuacct:/\n0::/\n")
	if len(mixed) != 3 || mixed[0] != (hierarchy{"systemd", "name=systemd", "/"}) || mixed[1].Path != "/a/b" || mixed[2].Folder != "cpu,cpuacct" {
		t.Fatal(mixed)
	}
	two := parseHierarchies("0::/user.slice\n")
	if len(two) != 1 || two[0].mountType() != "cgroup2" || mixed[0].mountType() != "cgroup" {
		t.Fatal(two)
	}
}

func TestTheOwnerIsInAGroupsName(t *testing.T) {
	if id, ok := ownerOf(groupPrefix + "12-3456"); !ok || id.PID != 12 || id.Start != 3456 || id.Alive() {
		t.Fatal(id, ok)
	}
	for _, name := range []string{groupPrefix + "12", groupPrefix + "a-1", "other-1-2"} {
		if _, ok := ownerOf(name); ok {
			t.Error(name)
		}
	}
}

func TestSubnetsDoNotMeet(t *testing.T) {
	if a, b := (Subnet{0}).CIDR().String(), (Subnet{511}).CIDR().String(); a != "198.18.0.0/24" || b != "198.19.255.0/24" {
		t.Fatal(a, b)
	}
	s := Subnet{300}
	for _, ip := range []string{s.Node().String(), s.machine().String()} {
		if first, last := s.Pods(); ip == first.String() || ip == last.String() {
			t.Error(ip)
		}
	}
}

func TestARegistryGivesWhatItHasAndRefusesAsRealOnesDo(t *testing.T) {
	program := filepath.Join(t.TempDir(), "sample")
	if err := os.WriteFile(program, []byte("program"), 0o755); err != nil {
		t.Fatal(err)
	}
	images, err := newRegistry(program)
	if err != nil {
		t.Fatal(err)
	}
	get := func(path, authorization string) *httptest.ResponseRecorder {
		w, q := httptest.NewRecorder(), httptest.NewRequest(http.MethodGet, path, nil)
		if authorization != "" {
			q.Header.Set("Authorization", authorization)
		}
		images.ServeHTTP(w, q)
		return w
	}
	var manifest struct {
		Config struct{ Digest string }
		Layers []struct {
			Digest string
			Size   int
		}
	}
	byTag := get("/v2/sample/manifests/2", "")
	if err := json.Unmarshal(byTag.Body.Bytes(), &manifest); err != nil || byTag.Code != 200 {
		t.Fatal(byTag.Code, err)
	}
	byDigest := get("/v2/sample/manifests/"+byTag.Header().Get("Docker-Content-Digest"), "")
	if byDigest.Code != 200 || byDigest.Body.String() == get("/v2/sample/manifests/1", "").Body.String() {
		t.Fatal(byDigest.Code)
	}
	for _, wanted := range []string{manifest.Config.Digest, manifest.Layers[0].Digest} {
		if blob := get("/v2/sample/blobs/"+wanted, ""); blob.Code != 200 || digest(blob.Body.Bytes()) != wanted {
			t.Error(wanted, blob.Code)
		}
	}
	layer := get("/v2/sample/blobs/"+manifest.Layers[0].Digest, "").Body
	z, err := gzip.NewReader(layer)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	files := tar.NewReader(z)
	for header, err := files.Next(); err != io.EOF; header, err = files.Next() {
		if err != nil {
			t.Fatal(err)
		}
		names = append(names, header.Name)
	}
	if len(names) != 4 || names[3] != "sample" {
		t.Error(names)
	}
	for path, status := range map[string]int{
		"/v2/": 200, "/": 404, "/v2/sample/manifests/9": 404, "/v2/other/manifests/1": 404, "/v2/sample/blobs/sha256:0": 404,
		"/v2/hub/web/manifests/1": 401, "/v2/private/web/manifests/1": 401, "/v2/basic/web/manifests/1": 401,
		"/v2/forbidden/web/manifests/1": 403, "/v2/busy/web/manifests/1": 429, "/v2/broken/web/manifests/1": 500,
		"/token?scope=repository:hub/web:pull": 200, "/token?scope=repository:private/web:pull": 401,
	} {
		if got := get(path, "").Code; got != status {
			t.Errorf("%s: %d", path, got)
		}
	}
	if got := get("/v2/hub/web/manifests/1", "Bearer nobody"); got.Code != 401 {
		t.Error("a token opens what is closed")
	}
}
