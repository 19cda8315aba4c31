// SPDX-License-Identifier: MIT

package peers

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"
)

// guestInit is the guest's first process.
//
//go:embed guest/init.sh
var guestInit []byte

// Addresses of the host and of the guest on the wire between them.
const (
	hostIP  = "10.99.0.1"
	guestIP = "10.99.0.2"
	// agentAddr is where the guest's agent listens.
	agentAddr = guestIP + ":2222"
)

// guestModules are the kernel's modules that the guest loads, without those that they need in turn.
var guestModules = []string{"virtio_pci", "virtio_net", "sunrpc", "lockd", "grace", "nfs", "nfsv3", "nfsv4", "nfsd",
	"nfs_acl", "auth_rpcgss", "dns_resolver"}

// guestPrograms are the programs of this system that the guest takes along.
var guestPrograms = []string{"rpcbind", "rpcinfo", "exportfs", "rpc.mountd", "rpc.nfsd", "rpc.statd", "mount.nfs"}

// kernelTree is a folder with boot/vmlinuz-VERSION and lib/modules/VERSION.
type kernelTree struct{ dir, version, image string }

// openKernel looks at a folder as a kernel package unpacks.
func openKernel(dir string) (*kernelTree, error) {
	modules, _ := filepath.Glob(filepath.Join(dir, "lib/modules/*"))
	if len(modules) == 0 {
		return nil, fmt.Errorf("%s: no lib/modules/VERSION there; unpack a kernel package with dpkg-deb -x", dir)
	}
	k := &kernelTree{dir: dir, version: filepath.Base(modules[0])}
	for _, image := range []string{"boot/vmlinuz-" + k.version, "lib/modules/" + k.version + "/vmlinuz"} {
		if _, err := os.Stat(filepath.Join(dir, image)); err == nil {
			k.image = filepath.Join(dir, image)
			return k, nil
		}
	}
	return nil, fmt.Errorf("%s: no boot/vmlinuz-%s there; unpack the package with the kernel's image, too", dir, k.version)
}

// FetchKernel downloads and unpacks the distribution's kernel for virtual machines into cache, once.
func FetchKernel(ctx context.Context, cache string) (string, error) {
	dir := filepath.Join(cache, "kernel")
	if _, err := openKernel(dir); err == nil {
		return dir, nil
	}
	out, err := output(ctx, "apt-cache", "depends", "linux-image-cloud-amd64")
	if err != nil {
		return "", notAvailable("a kernel: %v; give one with --kernel", err)
	}
	m := regexp.MustCompile(`Depends: (linux-image-\S+)`).FindStringSubmatch(out)
	if m == nil {
		return "", notAvailable("a kernel: this system's packages have no linux-image-cloud-amd64; give one with --kernel")
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", err
	}
	ctx, cancel := context.WithTimeout(ctx, 5*time.Minute)
	defer cancel()
	get := exec.CommandContext(ctx, "apt-get", "download", m[1])
	get.Dir = cache
	if b, err := get.CombinedOutput(); err != nil {
		return "", notAvailable("a kernel: %s cannot be downloaded (%s); run apt-get update, or give one with --kernel",
			m[1], lastLines(b))
	}
	debs, _ := filepath.Glob(filepath.Join(cache, m[1]+"_*.deb"))
	for _, deb := range debs {
		if _, err := output(ctx, "dpkg-deb", "-x", deb, dir); err != nil {
			return "", err
		}
	}
	_, err = openKernel(dir)
	return dir, err
}

// buildGuest makes the guest's initial file system in dir and returns its archive.
func buildGuest(ctx context.Context, k *kernelTree, dir string) (string, error) {
	root := filepath.Join(dir, "root")
	for _, d := range []string{"bin", "etc", "root", "dev"} {
		if err := os.MkdirAll(filepath.Join(root, d), 0o755); err != nil {
			return "", err
		}
	}
	files := map[string]string{
		"init":              string(guestInit),
		"etc/exports":       "/export *(rw,no_root_squash,insecure,no_subtree_check,fsid=1,sync)\n",
		"etc/hosts":         "127.0.0.1 localhost guest\n" + hostIP + " host\n",
		"etc/passwd":        "root:x:0:0::/root:/bin/sh\n_rpc:x:101:65534::/:/bin/false\nstatd:x:104:65534::/:/bin/false\n",
		"etc/group":         "root:x:0:\nnogroup:x:65534:\n",
		"etc/nsswitch.conf": "passwd: files\ngroup: files\nhosts: files\nservices: files\nrpc: files\n",
		"etc/nfs.conf":      "",
	}
	var errs []error
	for name, text := range files {
		errs = append(errs, os.WriteFile(filepath.Join(root, name), []byte(text), 0o755))
	}
	for _, name := range []string{"netconfig", "rpc", "services", "protocols"} {
		errs = append(errs, takeFile(root, "/etc/"+name))
	}
	errs = append(errs, takeProgram(ctx, root, "busybox", "bin/busybox"))
	errs = append(errs, os.Symlink("busybox", filepath.Join(root, "bin/sh")))
	for _, name := range guestPrograms {
		errs = append(errs, takeProgram(ctx, root, name, ""))
	}
	errs = append(errs, k.takeModules(ctx, root), buildAgent(ctx, filepath.Join(root, "bin/agent")))
	if err := errors.Join(errs...); err != nil {
		return "", err
	}
	archive := filepath.Join(dir, "initrd.gz")
	pack := exec.CommandContext(ctx, "sh", "-c", "find . | cpio -o -H newc --quiet | gzip -1 > "+archive)
	pack.Dir = root
	if b, err := pack.CombinedOutput(); err != nil {
		return "", fmt.Errorf("packing the guest: %w: %s", err, lastLines(b))
	}
	return archive, nil
}

// takeFile copies a file of this system to the same place below root.
func takeFile(root, name string) error { return takeFileAs(root, name, name) }

// takeFileAs copies a file of this system to another place below root.
func takeFileAs(root, name, to string) error {
	data, err := os.ReadFile(name)
	if err != nil {
		return err
	}
	to = filepath.Join(root, to)
	if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
		return err
	}
	return os.WriteFile(to, data, 0o755)
}

// takeProgram copies a program and the libraries it loads; to is where to, below root, if not to the same place.
func takeProgram(ctx context.Context, root, name, to string) error {
	path, err := lookPath(name)
	if err != nil {
		return err
	}
	if to == "" {
		to = path
	}
	if err := takeFileAs(root, path, to); err != nil {
		return err
	}
	out, err := output(ctx, "ldd", path)
	if err != nil {
		return nil // static
	}
	for _, lib := range regexp.MustCompile(`/\S+`).FindAllString(out, -1) {
		lib = strings.TrimSuffix(lib, ":")
		if lib == path {
			continue
		}
		if err := takeFile(root, lib); err != nil {
			return err
		}
	}
	return nil
}

// takeModules copies guestModules and what they need.
func (k *kernelTree) takeModules(ctx context.Context, root string) error {
	if _, err := output(ctx, "depmod", "-b", k.dir, k.version); err != nil {
		return err
	}
	from := filepath.Join(k.dir, "lib/modules", k.version)
	to := filepath.Join(root, "lib/modules", k.version)
	if err := os.MkdirAll(to, 0o755); err != nil {
		return err
	}
	deps, err := os.ReadFile(filepath.Join(from, "modules.dep"))
	if err != nil {
		return err
	}
	for l := range strings.Lines(string(deps)) {
		files := strings.Fields(strings.Replace(l, ":", " ", 1))
		if len(files) == 0 || !slices.Contains(guestModules, moduleName(files[0])) {
			continue
		}
		for _, f := range files {
			if err := takeModule(ctx, filepath.Join(from, f), filepath.Join(to, strings.TrimSuffix(f, ".xz"))); err != nil {
				return err
			}
		}
	}
	for _, name := range []string{"modules.builtin", "modules.order"} {
		if data, err := os.ReadFile(filepath.Join(from, name)); err == nil {
			if err := os.WriteFile(filepath.Join(to, name), data, 0o644); err != nil {
				return err
			}
		}
	}
	_, err = output(ctx, "depmod", "-b", root, k.version)
	return err
}

// moduleName is the name of a module's file without folder and ends.
func moduleName(file string) string {
	name, _, _ := strings.Cut(filepath.Base(file), ".")
	return name
}

// takeModule copies one module, unpacked.
func takeModule(ctx context.Context, from, to string) error {
	if _, err := os.Stat(to); err == nil {
		return nil
	}
	if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
		return err
	}
	if !strings.HasSuffix(from, ".xz") {
		data, err := os.ReadFile(from)
		if err != nil {
			return err
		}
		return os.WriteFile(to, data, 0o644)
	}
	data, err := exec.CommandContext(ctx, "xz", "-dc", from).Output()
	if err != nil {
		return fmt.Errorf("xz -dc %s: %w", from, err)
	}
	return os.WriteFile(to, data, 0o644)
}

// buildAgent compiles the agent, for a system without libraries.
func buildAgent(ctx context.Context, to string) error {
	build := exec.CommandContext(ctx, "go", "build", "-trimpath", "-o", to,
		"github.com/seed17199236/svcfuzz/stress/peers/guest")
	build.Env = append(os.Environ(), "CGO_ENABLED=0", "GOARCH=amd64", "GOOS=linux")
	if b, err := build.CombinedOutput(); err != nil {
		return fmt.Errorf("building the guest's agent: %w: %s", err, lastLines(b))
	}
	return nil
}

// guest is a Linux kernel in an emulator, on a wire with this host.
type guest struct {
	qemu    *process
	console string // file
	version string
}

// bootLimit bounds the boot; an emulated machine takes 5 to 10 seconds if nothing else runs.
const bootLimit = 3 * time.Minute

// boot starts the guest and waits until its services are up.
func boot(ctx context.Context, k *kernelTree, initrd, dir string) (*guest, error) {
	g := &guest{console: filepath.Join(dir, "console")}
	var err error
	g.qemu, err = start(ctx, "qemu-system-x86_64", "-accel", "tcg", "-cpu", "Nehalem", "-m", "768", "-no-reboot",
		"-kernel", k.image, "-initrd", initrd, "-append", "console=ttyS0 quiet panic=-1 mitigations=off",
		"-netdev", "tap,id=n0,ifname=tap0,script=no,downscript=no", "-device", "virtio-net-pci,netdev=n0,romfile=",
		"-serial", "file:"+g.console, "-display", "none", "-monitor", "none")
	if err != nil {
		return nil, err
	}
	wire := func() bool {
		_, err := output(ctx, "ip", "addr", "add", hostIP+"/24", "dev", "tap0")
		return err == nil
	}
	if !eventually(ctx, 10*time.Second, wire) {
		g.qemu.kill()
		return nil, notAvailable("the wire to the guest: no tap device (%s); the host needs /dev/net/tun",
			lastLines(g.qemu.noise.Bytes()))
	}
	if _, err := output(ctx, "ip", "link", "set", "tap0", "up"); err != nil {
		g.qemu.kill()
		return nil, err
	}
	ready := regexp.MustCompile(`GUEST READY (\S+)`)
	up := eventually(ctx, bootLimit, func() bool {
		text, _ := os.ReadFile(g.console)
		m := ready.FindSubmatch(text)
		if m != nil {
			g.version = string(m[1])
		}
		return m != nil
	}) && eventually(ctx, bootLimit, func() bool {
		conn, err := net.DialTimeout("tcp", agentAddr, time.Second)
		if err == nil {
			conn.Close()
		}
		return err == nil
	})
	if !up {
		text, _ := os.ReadFile(g.console)
		g.qemu.kill()
		return nil, fmt.Errorf("the guest does not come up: %s; %s", lastLines(text), lastLines(g.qemu.noise.Bytes()))
	}
	return g, nil
}

// blame says whether the guest's own death explains err: some kernels do not bear some emulators for long.
func (g *guest) blame(err error) error {
	select {
	case <-g.qemu.ended:
		text, _ := os.ReadFile(g.console)
		return fmt.Errorf("%w; the guest has died: %s %s", err, lastLines(text), lastLines(g.qemu.noise.Bytes()))
	case <-time.After(time.Second):
		return err
	}
}

// sh runs a script in the guest and returns what it said. The error tells a status other than 0.
func (g *guest) sh(ctx context.Context, script string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	var d net.Dialer
	conn, err := d.DialContext(ctx, "tcp", agentAddr)
	if err != nil {
		return "", err
	}
	defer conn.Close()
	if deadline, ok := ctx.Deadline(); ok {
		_ = conn.SetDeadline(deadline)
	}
	if _, err := io.WriteString(conn, script); err != nil {
		return "", err
	}
	if err := conn.(*net.TCPConn).CloseWrite(); err != nil {
		return "", err
	}
	b, err := io.ReadAll(conn)
	if err != nil {
		return string(b), fmt.Errorf("guest: %q: %w", script, err)
	}
	text, status, ok := strings.Cut(string(b), "\nstatus ")
	if !ok || strings.TrimSpace(status) != "0" {
		return text, fmt.Errorf("guest: %q ends with status %s: %s", script, strings.TrimSpace(status), lastLines([]byte(text)))
	}
	return text, nil
}
