package io.hydraopt.demo

import io.hydraopt.BundleCopies
import io.hydraopt.HydraOptException
import io.hydraopt.Source
import io.hydraopt.StoppedException
import io.hydraopt.TaskBundle
import java.io.File

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
data class Foreign(val source: Source, val picked: Boolean) : Place {
    override val name: String get() = source.name
}

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
    private val assets: () -> List<Source>
) {
    private val copies = BundleCopies(own, cache)

    /** Creates the directories and deletes unfinished copies. */
    fun tidy() {
        copies.tidy()
        pushed?.mkdirs()
    }

    /** All bundles, including damaged ones: [open] checks them. */
    fun places(): List<Place> {
        val brought = assets().map { Foreign(it, picked = false) }
        val names = brought.map { it.name }
        val copied = copies.names.filterNot { it in names }.map { Stored(File(own, it), false) }
        val directories = pushed?.listFiles().orEmpty()
            .filter { it.isDirectory && !it.name.startsWith(".") }.sorted()
        return brought + copied + directories.map { Stored(it, true) }
    }

    /**
     * Opens a bundle, copying it first if necessary.
     *
     * @param stopped polled between blocks of a copy.
     * @throws HydraOptException the bundle is damaged, or there is no space for it.
     * @throws StoppedException the copy was stopped and removed.
     */
    fun open(place: Place, stopped: () -> Boolean): TaskBundle = when (place) {
        is Stored -> TaskBundle.open(place.directory, cache = cache)
        is Foreign -> if (place.picked) {
            copies.copy(place.source, stopped)
        } else {
            copies.open(place.source, stopped)
        }
    }
}
