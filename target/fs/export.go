// SPDX-License-Identifier: GPL-2.0-only

package fs

import (
	"encoding/binary"

	"github.com/seed17199236/svcfuzz/target/kernel"
)

// Parts of knfsd's file handles: version, kind of authentication, kind of export number, kind of file number.
const (
	fhVersion      = 1
	fsidNum        = 1
	fileidRoot     = 0
	fileidIno32Gen = 1

	nfsFhsize = 32 // of a handle of version 2, and of the old form
)

// fsidLen gives the octets of an export number, by kind; of a kind that is not here there is none.
//
// C: key_len, fs/nfsd/nfsfh.h
var fsidLen = [...]int{8, 4, 12, 8, 8, 8, 16, 24}

// FhOf makes the handle of inode as knfsd makes it for a memory file system that is exported with fsid=Fsid.
//
// C: fh_compose, fs/nfsd/nfsfh.c; shmem_encode_fh, mm/shmem.c
func (v *VFS) FhOf(inode *Inode) []byte {
	fh := binary.LittleEndian.AppendUint32([]byte{fhVersion, 0, fsidNum, fileidRoot}, v.Fsid)
	if inode.IIno == ROOT_INO {
		return fh
	}
	fh[3] = fileidIno32Gen
	fh = binary.LittleEndian.AppendUint32(fh, inode.IGeneration)
	return binary.LittleEndian.AppendUint64(fh, inode.IIno)
}

// FhToInode finds the inode of a handle: 0, -EBADHANDLE if it is none of knfsd's, or -ESTALE if it is not of this
// export or its file is gone. Octets behind what is needed do not matter, and neither does a fourth one other than 0.
//
// C: nfsd_set_fh_dentry, fs/nfsd/nfsfh.c; shmem_fh_to_dentry, mm/shmem.c
func (v *VFS) FhToInode(fh []byte) (*Inode, int) {
	fh = fh[:len(fh)&^3]
	if len(fh) < 4 {
		return nil, -kernel.EBADHANDLE
	}
	if fh[0] != fhVersion { // the old form names its export by a device number, and ours has none
		if len(fh) == nfsFhsize {
			return nil, -kernel.ESTALE
		}
		return nil, -kernel.EBADHANDLE
	}
	if fh[1] != 0 || int(fh[2]) >= len(fsidLen) || len(fh) < 4+fsidLen[fh[2]] {
		return nil, -kernel.EBADHANDLE
	}
	if fh[2] != fsidNum || binary.LittleEndian.Uint32(fh[4:]) != v.Fsid {
		return nil, -kernel.ESTALE
	}
	if fh[3] == fileidRoot {
		return v.Root(), 0
	}
	fid := fh[8:]
	if len(fid) < 12 {
		return nil, -kernel.ESTALE
	}
	inode := v.ilookup(binary.LittleEndian.Uint64(fid[4:]), binary.LittleEndian.Uint32(fid))
	if inode == nil {
		return nil, -kernel.ESTALE
	}
	return inode, 0
}
