// SPDX-License-Identifier: GPL-2.0-only

package lockd

import (
	"fmt"
	"testing"

	"github.com/seed17199236/svcfuzz/target/fs"
	"github.com/seed17199236/svcfuzz/target/kernel"
	"github.com/seed17199236/svcfuzz/target/kernel/sock"
)

// files counts the files that lockd has open.
func (w *lockWorld) files() (n int) {
	for _, file := range w.NlmFiles {
		for ; file != nil; file = file.FNext {
			n++
		}
	}
	return n
}

// hasFiles checks how many files lockd has open.
func (w *lockWorld) hasFiles(when string, want int) {
	if n := w.files(); n != want {
		w.fail("%s: %d files, want %d", when, n, want)
	}
}

// TestFileTable opens a file with its first lock and closes it behind its last one.
func TestFileTable(t *testing.T) {
	withPeer(t, 30, func(cur *kernel.Task, w *lockWorld, p *peer) {
		first := w.inode
		p.expect("test", p.test(cur, 1, wr, 0, 1), NLM_LCK_GRANTED)
		w.hasFiles("after a test", 0)
		p.expect("lock", p.lock(cur, 1, wr, 0, 10, false), NLM_LCK_GRANTED)
		p.expect("lock", p.lock(cur, 1, wr, 20, 10, false), NLM_LCK_GRANTED)
		w.hasFiles("locked", 1)
		w.inode = w.Fs.Create("second", false, 7)
		p.expect("lock of a second file", p.lock(cur, 1, rd, 0, 0, false), NLM_LCK_GRANTED)
		w.hasFiles("two files", 2)
		w.inode = first
		p.expect("unlock", p.unlock(cur, 1, 0, 10), NLM_LCK_GRANTED)
		w.hasFiles("one lock left", 2)
		p.expect("unlock", p.unlock(cur, 1, 0, 0), NLM_LCK_GRANTED)
		w.hasFiles("none left", 1)

		p.expect("lock", p.lock(cur, 1, wr, 0, 10, false), NLM_LCK_GRANTED)
		w.Fs.Remove(first)
		p.expect("unlock behind a removal", p.unlock(cur, 1, 0, 0), NLM_LCK_GRANTED)
		p.expect("lock of a stale handle", p.lock(cur, 1, wr, 0, 10, false), NLM_STALE_FH)
		w.inode = w.Fs.Root()
		p.expect("lock of a directory", p.lock(cur, 1, wr, 0, 10, false), NLM_FAILED)
		w.inode = first
	})
}

// TestReboot has a status monitor tell that a host rebooted: its locks and its waiting end, and the next one in line
// gets what is free.
func TestReboot(t *testing.T) {
	withPeers(t, 100, func(cur *kernel.Task, w *lockWorld, p, q *peer) {
		p.expect("lock", p.lock(cur, 1, wr, 0, 10, false), NLM_LCK_GRANTED)
		p.expect("waits", p.lock(cur, 2, wr, 5, 10, true), NLM_LCK_BLOCKED)
		q.expect("waits", q.lock(cur, 3, wr, 0, 10, true), NLM_LCK_BLOCKED)
		statd := w.NsmPort.(*Statd)
		if err := statd.Notify(cur, w.rpc, w.nets[0], 4045, p.addr.Host(), 3); err != 0 {
			w.fail("notify: %s", kernel.ErrName(err))
		}
		q.gets(cur, 3)
		w.want("rebooted", "3W0-9")
		if p.pump(cur, 100, func() bool { return p.grants[2] > 0 }) {
			w.fail("granted to what died with the host")
		}
		p.expect("lock", p.lock(cur, 1, wr, 0, 1, false), NLM_LCK_DENIED)
	})
}

// TestFreeAll has a host drop all that it has of all files.
func TestFreeAll(t *testing.T) {
	withPeers(t, 60, func(cur *kernel.Task, w *lockWorld, p, q *peer) {
		p.expect("lock", p.lock(cur, 1, wr, 0, 10, false), NLM_LCK_GRANTED)
		p.expect("waits", p.lock(cur, 2, wr, 0, 10, true), NLM_LCK_BLOCKED)
		q.expect("lock", q.lock(cur, 3, wr, 20, 10, false), NLM_LCK_GRANTED)
		x := p.header(NLMPROC_FREE_ALL)
		x.opaque([]byte(p.addr.Host()))
		x.words(0)
		xid := p.send(cur, x)
		p.await(cur, 1000, func() bool { return p.replies[xid] != nil })
		w.want("freed", "3W20-29")
		w.noBlocks("freed")
	})
}

// TestStopWithLocks takes lockd down while clients hold locks and wait for others, right behind a request or in the
// middle of it.
func TestStopWithLocks(t *testing.T) {
	locking(t, 300, func(cur *kernel.Task, w *lockWorld) {
		p, q := newPeer(cur, w, 1), newPeer(cur, w, 2)
		p.expect("lock", p.lock(cur, 1, wr, 0, 10, false), NLM_LCK_GRANTED)
		q.expect("waits", q.lock(cur, 2, wr, 0, 5, true), NLM_LCK_BLOCKED)
		q.expect("waits", q.lock(cur, 3, rd, 5, 5, true), NLM_LCK_BLOCKED)
		client := cur.Machine().Spawn(cur, "client", func(cur *kernel.Task) {
			p.send(cur, p.unlockMsg(1, 0, 5))
			p.send(cur, p.lockMsg(4, wr, 100, 1, false, false))
			q.pump(cur, 3, func() bool { return false })
		})
		w.LockdDown(cur, w.nets[0])
		kernel.Join(cur, client)
		p.close()
		q.close()
		w.clean(cur, "stopped")
		w.up(cur)
	})
}

// traversal is withPeer, with lockd up in a second namespace too; run counts.
func traversal(t *testing.T, main func(cur *kernel.Task, w *lockWorld, p *peer, run int)) {
	t.Helper()
	run := 0
	withPeer(t, 400, func(cur *kernel.Task, w *lockWorld, p *peer) {
		run++
		if !w.started(cur, w.fail, 1) {
			return
		}
		main(cur, w, p, run)
	})
}

// TestTraversal has lockd go down in a namespace while it serves locks in another: who goes through the files to see
// which hosts have something must not free what is being used, and must not miss what is being added.
func TestTraversal(t *testing.T) {
	traversal(t, func(cur *kernel.Task, w *lockWorld, p *peer, run int) {
		client := cur.Machine().Spawn(cur, "client", func(cur *kernel.Task) {
			p.expect("lock", p.lock(cur, 1, wr, 0, 10, false), NLM_LCK_GRANTED)
			p.expect("waits", p.lock(cur, 2, wr, 0, 10, true), NLM_LCK_BLOCKED)
			p.expect("unlock", p.unlock(cur, 1, 0, 0), NLM_LCK_GRANTED)
		})
		w.dawdleUntil(cur, 2000, w.fileLocked)
		w.dawdle(run % 50)
		w.LockdDown(cur, w.nets[1])
		kernel.Join(cur, client)
		p.gets(cur, 2)
		w.want("granted", "2W0-9")
		w.hasFiles("granted", 1)
	})
}

// TestTraversalOfBucket is TestTraversal with two files in one bucket, of which one is closed meanwhile.
func TestTraversalOfBucket(t *testing.T) {
	traversal(t, func(cur *kernel.Task, w *lockWorld, p *peer, run int) {
		files := []*fs.Inode{w.inode, w.Fs.Create("second", false, w.inode.IGeneration-1)}
		for _, w.inode = range files {
			p.expect("lock", p.lock(cur, 1, wr, 0, 10, false), NLM_LCK_GRANTED)
		}
		if first := w.NlmFiles[fileHash(&NfsFh{Data: w.fh(files[0])})]; first == nil || first.FNext == nil {
			w.fail("the files are not in one bucket")
		}
		w.inode = files[run%2]
		client := cur.Machine().Spawn(cur, "client", func(cur *kernel.Task) {
			p.expect("unlock", p.unlock(cur, 1, 0, 0), NLM_LCK_GRANTED)
		})
		w.dawdle(180 + run%60)
		w.LockdDown(cur, w.nets[1])
		kernel.Join(cur, client)
		w.inode = files[(run+1)%2]
		w.want("the other one", "1W0-9")
		w.hasFiles("the other one", 1)
		p.expect("unlock", p.unlock(cur, 1, 0, 0), NLM_LCK_GRANTED)
	})
}

// fileUsed tells whether lockd works on a file.
//
//go:norace
func (w *lockWorld) fileUsed() bool {
	for _, file := range w.NlmFiles {
		for ; file != nil; file = file.FNext {
			if file.FCount.Peek() > int64(len(file.FBlocks.Peek())) {
				return true
			}
		}
	}
	return false
}

// fh is the handle of an inode with its padding.
func (w *lockWorld) fh(inode *fs.Inode) (fh [NFS_MAXFHSIZE]byte) {
	copy(fh[:], w.Fs.FhOf(inode))
	return fh
}

// TestUnlockAll has an administrator take everything from the clients, by file system and by address, while lockd
// works on it.
func TestUnlockAll(t *testing.T) {
	run := 0
	contended(t, 400, func(cur *kernel.Task, w *lockWorld, p *peer) {
		run++
		admin := cur.Machine().Spawn(cur, "admin", func(cur *kernel.Task) {
			w.dawdleUntil(cur, 1000, w.fileUsed)
			w.dawdle(run % 40)
			if err := w.NlmsvcUnlockAllBySb(cur, w.Fs); err != 0 {
				w.fail("unlock_all_by_sb: %s", kernel.ErrName(err))
			}
		})
		if run%2 == 0 {
			p.call(cur, p.cancelMsg(2, wr, 0, 10))
		}
		p.expect("unlock", p.unlock(cur, 1, 0, 10), NLM_LCK_GRANTED)
		p.lock(cur, 3, wr, 3, 10, true)
		kernel.Join(cur, admin)
		for range 2 { // lockd grants what is due before it waits for the next call
			p.test(cur, 4, rd, 1000, 1)
		}

		other := sock.Addr4(127, 0, 0, 99, 0)
		was := w.locks()
		if err := w.NlmsvcUnlockAllByIp(cur, &other); err != 0 || w.locks() != was {
			w.fail("unlock_all_by_ip of another address: %s, %q was %q", kernel.ErrName(err), w.locks(), was)
		}
		mine := sock.LoopbackAddr(sock.AF_INET, 0)
		if err := w.NlmsvcUnlockAllByIp(cur, &mine); err != 0 {
			w.fail("unlock_all_by_ip: %s", kernel.ErrName(err))
		}
		w.want("all unlocked", "")
	})
}

// TestFileHash puts the octets of version 2's handles into the hash, and no more.
func TestFileHash(t *testing.T) {
	var a, b NfsFh
	a.Size, b.Size = NFS_MAXFHSIZE, NFS_MAXFHSIZE
	for i := range a.Data {
		a.Data[i], b.Data[i] = byte(i), byte(i)
	}
	b.Data[NFS2_FHSIZE]++
	if fileHash(&a) != fileHash(&b) || fileHash(&a) != (31*32/2)%FILE_NRHASH {
		t.Errorf("%d and %d", fileHash(&a), fileHash(&b))
	}
	b.Data[NFS2_FHSIZE-1]++
	if fileHash(&a) == fileHash(&b) || nfsCompareFh(&a, &b) {
		t.Error("handles that differ are one")
	}
}

// TestCompareLocks looks at what makes a request another one.
func TestCompareLocks(t *testing.T) {
	hosts := [2]*NlmHost{{}, {}}
	inodes := [2]*fs.File{{FInode: &fs.Inode{}}, {FInode: &fs.Inode{}}}
	base := fs.FileLock{FlFile: inodes[0], FlOwner: hosts[0], FlPid: 1, FlType: wr, FlStart: 3, FlEnd: 5}
	key := nlmLockKeyOf(&base)
	for i, change := range []func(fl *fs.FileLock){
		func(fl *fs.FileLock) { fl.FlFile = inodes[1] },
		func(fl *fs.FileLock) { fl.FlOwner = hosts[1] },
		func(fl *fs.FileLock) { fl.FlPid++ },
		func(fl *fs.FileLock) { fl.FlType = rd },
		func(fl *fs.FileLock) { fl.FlStart-- },
		func(fl *fs.FileLock) { fl.FlEnd++ },
	} {
		other := base
		change(&other)
		if nlmCompareLocks(&key, &other) {
			t.Errorf("change %d is not seen: %s", i, fmt.Sprint(nlmLockKeyOf(&other)))
		}
	}
	unlock := base
	unlock.FlType = fs.F_UNLCK
	if !nlmCompareLocks(&key, &base) || !nlmCompareLocks(&key, &unlock) {
		t.Error("the same request is another one")
	}
}
