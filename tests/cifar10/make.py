"""Creates small files in the format of CIFAR-10's Python version with several versions of Python and NumPy. The pictures are synthetic.

    python3.11 -m venv venv
    venv/bin/pip install numpy==2.4.6
    venv/bin/python tests/cifar10/make.py

Run it also with the argument `old` in Python 2.7.18 with NumPy 1.16.6, which writes files like the originals, and with the argument `one`
in Python 3.11.7 with NumPy 1.26.4. Every file has two pictures, with labels 3 and 9. Value i of picture p is (i * 7 + p) % 251, where i
is the index in [3, 32, 32].
"""

import io
import os
import pickle
import sys
import tarfile

import numpy as np

HERE = os.path.dirname(os.path.abspath(__file__))
NAMES = [b"airplane", b"automobile", b"bird", b"cat", b"deer", b"dog", b"frog", b"horse", b"ship", b"truck"]


def write(name, data):
    with open(os.path.join(HERE, name), "wb") as file:
        file.write(data)


def data():
    return np.array([[(i * 7 + p) % 251 for i in range(3072)] for p in range(2)], np.uint8)


def batch():
    return {
        b"batch_label": b"training batch 1 of 5",
        b"labels": [3, 9],
        b"data": data(),
        b"filenames": [b"tabby_s_000001.png", b"lorry_s_000002.png"],
    }


def changed(**fields):
    """Returns the batch with some fields replaced."""
    changed = batch()
    for name, value in fields.items():
        changed[name.encode()] = value
    return changed


def meta():
    return {b"num_cases_per_batch": 2, b"label_names": NAMES, b"num_vis": 3072}


def tarball(name, files):
    """Writes a .tar.gz without times and owners."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz", format=tarfile.USTAR_FORMAT) as archive:
        folder = tarfile.TarInfo("cifar-10-batches-py")
        folder.type = tarfile.DIRTYPE
        archive.addfile(folder)
        for file in files:
            with open(os.path.join(HERE, file), "rb") as source:
                content = source.read()
            entry = tarfile.TarInfo("cifar-10-batches-py/" + ("batches.meta" if "meta" in file else "data_batch_1"))
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
        page = tarfile.TarInfo("cifar-10-batches-py/readme.html")
        page.size = 4
        archive.addfile(page, io.BytesIO(b"text"))
    packed = bytearray(out.getvalue())
    packed[4:8] = bytes(4)  # modification time in the gzip header
    write(name, bytes(packed))


which = sys.argv[1] if len(sys.argv) > 1 else ""
if which == "old":
    import cPickle

    write("python2.pkl", cPickle.dumps(batch(), 2))
    write("python2_meta.pkl", cPickle.dumps(meta(), 2))
elif which == "one":
    for protocol in (2, 5):
        write("numpy1_protocol%d.pkl" % protocol, pickle.dumps(batch(), protocol))
else:
    for protocol in (2, 3, 4, 5):
        write("numpy2_protocol%d.pkl" % protocol, pickle.dumps(batch(), protocol))
    text = {key.decode(): value for key, value in changed(labels=np.array([3, 9])).items()}
    write("text_keys_array_labels.pkl", pickle.dumps(text, 4))
    write("wrong_type.pkl", pickle.dumps(changed(data=data().astype(np.float32))))
    write("wrong_shape.pkl", pickle.dumps(changed(data=data()[:, :3000])))
    write("by_columns.pkl", pickle.dumps(changed(data=np.asfortranarray(data()))))
    write("label_count.pkl", pickle.dumps(changed(labels=[3])))
    write("label_12.pkl", pickle.dumps(changed(labels=[3, 12])))
    write("something_else.pkl", pickle.dumps(["a", {"list": 1.5}]))
    tarball("python2.tar.gz", ["python2.pkl", "python2_meta.pkl"])
