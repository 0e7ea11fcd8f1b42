package io.hydraopt

import java.io.File
import java.io.FileOutputStream
import java.io.IOException
import java.nio.channels.FileChannel
import java.nio.file.Files
import java.nio.file.StandardCopyOption.ATOMIC_MOVE
import java.nio.file.StandardOpenOption.READ

/** Changes files of a bundle's [directory] so that the end of the process leaves each whole. */
internal class BundleFiles(private val directory: File) {
    /**
     * Writes all [contents], by path inside the directory, aside and renames them in their order.
     *
     * @throws OutputException if there is no space or no permission.
     */
    fun write(contents: Map<String, ByteArray>) {
        val aside = File(directory, ASIDE)
        val written = contents.keys.associateWith { File(aside, File(it).name) }
        try {
            aside.deleteRecursively() // what a process that was killed has left
            Files.createDirectory(aside.toPath())
            for ((name, content) in contents) write(written.getValue(name), content)
            for ((name, source) in written) {
                val target = File(directory, name)
                target.parentFile.mkdir()
                Files.move(source.toPath(), target.toPath(), ATOMIC_MOVE)
                keep(target.parentFile)
            }
        } catch (error: IOException) {
            throw OutputException(
                "cannot write $directory (${oneLine("$error")}); free some space, or open a copy " +
                    "in the app's own files",
                error
            )
        } finally {
            aside.deleteRecursively()
        }
    }

    private fun write(path: File, content: ByteArray) = FileOutputStream(path).use {
        it.write(content)
        it.fd.sync()
    }

    /** Has the disk keep renames in [directory], where the platform can. */
    private fun keep(directory: File) {
        try {
            FileChannel.open(directory.toPath(), READ).use { it.force(true) }
        } catch (_: IOException) {
            return
        }
    }

    private companion object {
        const val ASIDE = ".writing"
    }
}
