package io.hydraopt

import io.hydraopt.ManifestFormat.MANIFEST
import io.hydraopt.ManifestFormat.PROGRAM
import java.io.File
import java.io.IOException
import java.util.concurrent.locks.ReentrantReadWriteLock
import kotlin.concurrent.write

/**
 * The version of a task that an update has brought.
 *
 * @property task the task's name.
 * @property version its version.
 */
data class TaskUpdate(val task: String, val version: Int)

/** Installs updates in [directory] and removes tasks. */
internal class Installer(private val directory: File) {
    private val path = File(directory, MANIFEST)

    fun install(update: File, publicKey: Ed25519?): TaskUpdate = LOCK.write {
        val (manifest, swap) = growing()
        val file = UpdateFile.read(update, swap.packs.values.first().length)
        if (publicKey != null) file.checkSignature(publicKey)
        val found = file.update()
        val fields = ManifestFields.of(path)
        checkBelongs(file, found, manifest, fields.binding)
        checkIsNew(update, found, manifest)
        val name = "$PACKS/${found.pack.sha256.take(HASH)}$SUFFIX"
        BundleFiles(directory).write(mapOf(name to file.pack, MANIFEST to fields.with(found, name)))
        removeUnused(fields.binding)
        TaskUpdate(found.task, found.version)
    }

    fun remove(task: String) = LOCK.write {
        val (manifest, _) = growing()
        if (task !in manifest.tasks) {
            throw TaskException("no task '$task'; there are: ${manifest.tasks.joinToString(", ")}")
        }
        if (manifest.tasks.size == 1) {
            throw TaskException(
                "'$task' is the only task of $directory; delete the directory instead"
            )
        }
        val fields = ManifestFields.of(path)
        BundleFiles(directory).write(mapOf(MANIFEST to fields.without(task)))
        removeUnused(fields.binding)
    }

    /** The manifest, of a bundle that has packs. */
    private fun growing(): Pair<Manifest, Swap.Inputs> {
        val manifest = TaskBundle.readManifest(path)
        val swap = manifest.swap as? Swap.Inputs ?: throw BundleException(
            "$directory has its adapters in the program and takes no further one; export it with " +
                "its adapters as inputs"
        )
        return manifest to swap
    }

    private fun checkBelongs(file: UpdateFile, update: Update, manifest: Manifest, bound: String) {
        val program = manifest.files.getValue(PROGRAM).sha256
        if (update.program != program) {
            throw BundleException(
                "${file.path} is for another bundle: its program is ${update.program.take(12)}…, " +
                    "that of $directory is ${program.take(12)}…; get the update of this bundle"
            )
        }
        if (update.binding != bound) {
            throw BundleException(
                "${file.path} is of another layout: it is bound to ${update.binding.take(12)}…, " +
                    "$directory to ${bound.take(12)}…; get the update of this bundle"
            )
        }
        if (manifest.classes.isEmpty() != (update.classes == null)) {
            throw BundleException(
                "${file.path} is damaged: its classes do not fit $directory; ${UpdateFile.AGAIN}"
            )
        }
        file.checkPack(bound, manifest.packs.values.first().length)
    }

    private fun checkIsNew(path: File, update: Update, manifest: Manifest) {
        val task = update.task
        val installed = manifest.packs[task]
        if (installed == null) {
            if (manifest.tasks.none { it.equals(task, ignoreCase = true) }) return
            throw TaskException(
                "$directory has a task '$task' already; remove it or choose another name"
            )
        }
        val version = manifest.versions[task] ?: 1
        if (update.version < version) {
            throw TaskException(
                "$path has version ${update.version} of task '$task', older than $version in " +
                    "$directory; get the newest update, or remove the task first"
            )
        }
        if (update.version > version) return
        if (update.pack.sha256 == installed.sha256) {
            throw TaskException(
                "$path is installed already: $directory has version $version of '$task'"
            )
        }
        throw TaskException(
            "$directory has another task '$task' of version $version; make the update with a " +
                "greater version, or remove the task first"
        )
    }

    /** Removes the packs bound to [binding] that no task uses: replaced, removed, or of a kill. */
    private fun removeUnused(binding: String) {
        val used = TaskBundle.readManifest(path).packs.values
            .mapTo(HashSet()) { File(directory, it.file) }
        for (file in File(directory, PACKS).listFiles().orEmpty()) {
            if (file in used || !file.name.endsWith(SUFFIX)) continue
            if (header(file)?.binding == binding) file.delete()
        }
    }

    private fun header(file: File): PackHeader? =
        try {
            val start = ByteArray(PackHeader.BYTES)
            val size = file.inputStream().use { it.read(start) }
            PackHeader.of(start.copyOf(maxOf(size, 0)))
        } catch (_: IOException) {
            null
        }

    companion object {
        private const val PACKS = "packs"
        private const val SUFFIX = ".pack"
        private const val HASH = 16 // digits

        /** Bundles are not opened while one is changed. */
        val LOCK = ReentrantReadWriteLock()
    }
}
