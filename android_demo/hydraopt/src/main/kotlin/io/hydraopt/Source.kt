package io.hydraopt

import java.io.File
import java.io.IOException
import java.io.InputStream

/**
 * A file or directory to copy a bundle from: [FileSource], [AssetSource], or of another app.
 *
 * Its functions may throw [IOException] and [SecurityException].
 */
interface Source {
    /** Its name in its directory. */
    val name: String

    /** A directory's children; null for a file. */
    val children: List<Source>?

    /** The content of a file. */
    fun open(): InputStream
}

/** A file or directory with a path, such as that of an asset pack. */
class FileSource(private val file: File) : Source {
    override val name: String get() = file.name

    override val children: List<Source>?
        get() = if (file.isFile) {
            null
        } else {
            file.listFiles()?.map(::FileSource) ?: throw IOException("$file is no directory")
        }

    override fun open(): InputStream = file.inputStream()
}
