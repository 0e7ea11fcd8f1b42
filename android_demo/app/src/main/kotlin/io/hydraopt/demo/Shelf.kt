package io.hydraopt.demo

import io.hydraopt.BundleException
import io.hydraopt.TaskBundle
import java.io.File
import java.io.IOException
import java.io.InputStream

/** A file or directory without a path that ExecuTorch can open: an asset, or of another app. */
interface Node {
    /** Its name in its directory. */
    val name: String

    /** A directory's children; null for a file. Throws [IOException], [SecurityException]. */
    val children: List<Node>?

    /** The content of a file. Throws [IOException], [SecurityException]. */
    fun open(): InputStream
}

/** A bundle, which may be damaged. */
sealed interface Place {
    /** The name of its directory. */
    val name: String
}

/**
 * A directory of the app's files.
 *
 * @property pushed whether it was pushed by adb.
 */
data class Stored(val directory: File, val pushed: Boolean) : Place {
    override val name: String get() = directory.name
}

/**
 * A bundle that must be copied first.
 *
 * @property picked whether the user picked it; otherwise it is an asset.
 */
data class Foreign(val node: Node, val picked: Boolean) : Place {
    override val name: String get() = node.name
}

/** The copying was stopped. */
class StoppedException : RuntimeException()

/**
 * The available bundles.
 *
 * @param own directory of copies.
 * @param pushed directory of bundles pushed by adb.
 * @param cache directory that remembers which files were checked; null for none.
 * @param assets lists the bundles among the app's assets.
 */
class Shelf(
    private val own: File,
    private val pushed: File?,
    private val cache: File? = null,
    private val assets: () -> List<Node>
) {
    /** Creates the directories and deletes unfinished copies. */
    fun tidy() {
        own.mkdirs()
        pushed?.mkdirs()
        own.listFiles().orEmpty().filter { it.name.startsWith(ASIDE) }
            .forEach { it.deleteRecursively() }
    }

    /** All bundles, including damaged ones: [open] checks them. */
    fun places(): List<Place> {
        val brought = assets().map { Foreign(it, picked = false) }
        val names = brought.map { it.name }
        val copied = directories(own).filterNot { it.name in names }.map { Stored(it, false) }
        return brought + copied + directories(pushed).map { Stored(it, true) }
    }

    private fun directories(parent: File?): List<File> =
        parent?.listFiles().orEmpty().filter { it.isDirectory && !it.name.startsWith(ASIDE) }
            .sorted()

    /**
     * Opens a bundle, copying it first if necessary.
     *
     * @param stopped polled between blocks of a copy.
     * @throws BundleException the bundle is damaged.
     * @throws StoppedException the copy was stopped and removed.
     */
    fun open(place: Place, stopped: () -> Boolean): TaskBundle = when (place) {
        is Stored -> TaskBundle.open(place.directory, cache = cache)
        is Foreign -> {
            val target = File(own, plain(place.name))
            unchanged(place, target) ?: copied(place.node, target, stopped)
        }
    }

    /** The earlier copy of assets, if it is complete. */
    private fun unchanged(place: Foreign, target: File): TaskBundle? {
        val copy = File(target, MANIFEST)
        if (place.picked || !copy.isFile) return null
        val manifest = readable(place.node) { node ->
            node.children?.find { it.name == MANIFEST }?.open()?.use { it.readBytes() }
        }
        if (!copy.readBytes().contentEquals(manifest)) return null
        return try {
            TaskBundle.open(target, cache = cache)
        } catch (_: BundleException) {
            null
        }
    }

    private fun copied(node: Node, target: File, stopped: () -> Boolean): TaskBundle {
        val aside = File(own, "$ASIDE${target.name}")
        try {
            aside.deleteRecursively()
            readable(node) {
                if (it.children.orEmpty().none { child -> child.name == MANIFEST }) {
                    throw BundleException(
                        "${node.name} has no $MANIFEST; expected a directory that " +
                            "`hydraopt export` wrote"
                    )
                }
                copy(it, aside, stopped)
            }
            TaskBundle.open(aside)
            replace(target, aside)
        } finally {
            aside.deleteRecursively()
        }
        return TaskBundle.open(target, hashes = false)
    }

    /** Files that a session has mapped stay what they are, as they are not written to. */
    private fun replace(target: File, aside: File) {
        val old = File(own, "${ASIDE}old-${target.name}")
        target.renameTo(old)
        if (!aside.renameTo(target)) {
            old.renameTo(target)
            throw BundleException("$aside cannot be renamed to $target; free some space")
        }
        old.deleteRecursively()
    }

    private fun copy(node: Node, target: File, stopped: () -> Boolean) {
        val children = node.children
        if (children == null) return copyFile(node, target, stopped)
        if (!target.mkdirs()) throw IOException("$target cannot be made")
        for (child in children) {
            if ('/' in child.name || child.name in setOf("", ".", "..")) {
                throw IOException("'${child.name}' is not a file's name")
            }
            copy(child, File(target, child.name), stopped)
        }
    }

    private fun copyFile(node: Node, target: File, stopped: () -> Boolean) {
        val block = ByteArray(1 shl 17)
        node.open().use { input ->
            target.outputStream().use { output ->
                while (true) {
                    if (stopped()) throw StoppedException()
                    val count = input.read(block)
                    if (count < 0) break
                    output.write(block, 0, count)
                }
                output.fd.sync() // before it gets the name that says it is whole
            }
        }
    }

    private fun <T> readable(node: Node, read: (Node) -> T): T =
        try {
            read(node)
        } catch (error: IOException) {
            val reason = error.message
            throw BundleException("${node.name} cannot be copied ($reason); try again", error)
        } catch (error: SecurityException) {
            throw BundleException(
                "${node.name} cannot be read: the app has no permission; pick the directory again",
                error
            )
        }

    private fun plain(name: String): String =
        name.map { if (it.isLetterOrDigit() || it in "._-") it else '_' }.joinToString("")
            .trimStart('.').ifEmpty { "bundle" }

    private companion object {
        const val MANIFEST = "manifest.json"
        const val ASIDE = "."
    }
}
