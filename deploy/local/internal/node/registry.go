package node

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"runtime"
	"strings"
)

// Registry is the address from which the node pulls images: a server on the node's
// 127.0.0.1 with the part of the registry protocol that a pull needs. It holds one
// program under several tags, and refuses other repositories in each of the ways in
// which real registries do.
const Registry = "127.0.0.1:5000"

// pauseImage is the image of the container that holds a pod's network while its
// containers come and go.
const pauseImage = Registry + "/pause:1"

const (
	manifestType = "application/vnd.oci.image.manifest.v1+json"
	configType   = "application/vnd.oci.image.config.v1+json"
	layerType    = "application/vnd.oci.image.layer.v1.tar+gzip"
)

// registry answers pulls.
type registry struct {
	manifests map[string][]byte // by "repository:tag" and "repository@digest"
	blobs     map[string][]byte // by digest
}

// newRegistry packs the program into images: sample:1 to sample:3, and pause:1.
func newRegistry(program string) (*registry, error) {
	data, err := os.ReadFile(program)
	if err != nil {
		return nil, err
	}
	r := &registry{manifests: map[string][]byte{}, blobs: map[string][]byte{}}
	raw, packed, err := layer(data)
	if err != nil {
		return nil, err
	}
	for _, tag := range []string{"1", "2", "3"} {
		r.add("sample", tag, raw, packed, "serve")
	}
	r.add("pause", "1", raw, packed, "pause")
	return r, nil
}

// layer makes the file system of all images: the program, a folder for temporary files
// and two users.
func layer(program []byte) (raw, packed []byte, err error) {
	var buffer bytes.Buffer
	w := tar.NewWriter(&buffer)
	users := []byte("root:x:0:0:root:/:/sample\nnobody:x:65534:65534:nobody:/:/sample\n")
	for _, entry := range []struct {
		header tar.Header
		data   []byte
	}{
		{tar.Header{Name: "tmp/", Typeflag: tar.TypeDir, Mode: 0o1777}, nil},
		{tar.Header{Name: "etc/", Typeflag: tar.TypeDir, Mode: 0o755}, nil},
		{tar.Header{Name: "etc/passwd", Mode: 0o644}, users},
		{tar.Header{Name: "sample", Mode: 0o755}, program},
	} {
		entry.header.Size = int64(len(entry.data))
		if err := w.WriteHeader(&entry.header); err != nil {
			return nil, nil, err
		}
		if _, err := w.Write(entry.data); err != nil {
			return nil, nil, err
		}
	}
	if err := w.Close(); err != nil {
		return nil, nil, err
	}
	var small bytes.Buffer
	z, _ := gzip.NewWriterLevel(&small, gzip.BestSpeed)
	if _, err := z.Write(buffer.Bytes()); err != nil {
		return nil, nil, err
	}
	if err := z.Close(); err != nil {
		return nil, nil, err
	}
	return buffer.Bytes(), small.Bytes(), nil
}

func digest(data []byte) string { return fmt.Sprintf("sha256:%x", sha256.Sum256(data)) }

// add makes one image. The tag is part of its environment, so that images of different
// tags differ.
func (r *registry) add(repository, tag string, raw, packed []byte, mode string) {
	blob := func(kind string, data []byte) map[string]any {
		r.blobs[digest(data)] = data
		return map[string]any{"mediaType": kind, "digest": digest(data), "size": len(data)}
	}
	encode := func(value any) []byte {
		data, _ := json.Marshal(value) // cannot fail for maps and strings
		return data
	}
	config := encode(map[string]any{
		"architecture": runtime.GOARCH, "os": "linux",
		"config": map[string]any{
			"Entrypoint": []string{"/sample"}, "Cmd": []string{mode}, "WorkingDir": "/",
			"User": "65534:65534", "Env": []string{"SAMPLE_TAG=" + tag},
		},
		"rootfs": map[string]any{"type": "layers", "diff_ids": []string{digest(raw)}},
	})
	manifest := encode(map[string]any{
		"schemaVersion": 2, "mediaType": manifestType,
		"config": blob(configType, config), "layers": []any{blob(layerType, packed)},
	})
	r.manifests[repository+":"+tag] = manifest
	r.manifests[repository+"@"+digest(manifest)] = manifest
}

// refuse answers as registries do, with a status, a code and a sentence.
func refuse(w http.ResponseWriter, status int, code, message string) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	fmt.Fprintf(w, `{"errors":[{"code":%q,"message":%q}]}`, code, message)
}

// ServeHTTP answers GET and HEAD below /v2/. The first part of the repository's name
// says how it is refused: hub (a token is given but does not suffice, as at Docker
// Hub), private (no token is given, as at ghcr.io), basic (a password is requested),
// forbidden (403), busy (429), broken (500). Every other name is not found.
func (r *registry) ServeHTTP(w http.ResponseWriter, q *http.Request) {
	if q.URL.Path == "/token" {
		if strings.HasPrefix(q.URL.Query().Get("scope"), "repository:hub/") {
			w.Header().Set("Content-Type", "application/json")
			fmt.Fprint(w, `{"token":"nobody"}`)
			return
		}
		refuse(w, http.StatusUnauthorized, "UNAUTHORIZED", "authentication required")
		return
	}
	path, found := strings.CutPrefix(q.URL.Path, "/v2/")
	switch {
	case !found:
		http.NotFound(w, q)
		return
	case path == "":
		return
	}
	if r.refused(w, path, q.Header.Get("Authorization") != "") {
		return
	}
	if repository, reference, ok := strings.Cut(path, "/manifests/"); ok {
		key := repository + ":" + reference
		if strings.Contains(reference, ":") {
			key = repository + "@" + reference
		}
		if manifest, ok := r.manifests[key]; ok {
			w.Header().Set("Content-Type", manifestType)
			send(w, q, manifest)
			return
		}
		refuse(w, http.StatusNotFound, "MANIFEST_UNKNOWN", "manifest unknown")
		return
	}
	if _, reference, ok := strings.Cut(path, "/blobs/"); ok {
		if blob, ok := r.blobs[reference]; ok {
			w.Header().Set("Content-Type", "application/octet-stream")
			send(w, q, blob)
			return
		}
	}
	refuse(w, http.StatusNotFound, "BLOB_UNKNOWN", "blob unknown")
}

func send(w http.ResponseWriter, q *http.Request, data []byte) {
	w.Header().Set("Content-Length", fmt.Sprint(len(data)))
	w.Header().Set("Docker-Content-Digest", digest(data))
	if q.Method != http.MethodHead {
		_, _ = w.Write(data)
	}
}

// refused refuses requests for the repositories above.
func (r *registry) refused(w http.ResponseWriter, path string, token bool) bool {
	kind, rest, _ := strings.Cut(path, "/")
	repository, _, _ := strings.Cut(kind+"/"+rest, "/manifests/")
	bearer := fmt.Sprintf(`Bearer realm="http://%s/token",service="registry",scope="repository:%s:pull"`, Registry, repository)
	switch kind {
	case "hub":
		if token {
			bearer += `,error="insufficient_scope"`
		}
		w.Header().Set("Www-Authenticate", bearer)
		refuse(w, http.StatusUnauthorized, "UNAUTHORIZED", "authentication required")
	case "private":
		w.Header().Set("Www-Authenticate", bearer)
		refuse(w, http.StatusUnauthorized, "UNAUTHORIZED", "authentication required")
	case "basic":
		w.Header().Set("Www-Authenticate", `Basic realm="registry"`)
		refuse(w, http.StatusUnauthorized, "UNAUTHORIZED", "authentication required")
	case "forbidden":
		refuse(w, http.StatusForbidden, "DENIED", "requested access to the resource is denied")
	case "busy":
		refuse(w, http.StatusTooManyRequests, "TOOMANYREQUESTS", "You have reached your pull rate limit.")
	case "broken":
		refuse(w, http.StatusInternalServerError, "UNKNOWN", "internal error")
	default:
		return false
	}
	return true
}
