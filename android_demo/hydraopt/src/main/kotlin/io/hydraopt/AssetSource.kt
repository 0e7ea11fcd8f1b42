package io.hydraopt

import android.content.res.AssetManager
import java.io.InputStream

/**
 * A file or directory of the app's assets.
 *
 * @param path below `src/main/assets`, without a slash at its ends.
 */
class AssetSource(private val assets: AssetManager, private val path: String) : Source {
    override val name: String get() = path.substringAfterLast('/')

    override val children: List<Source>?
        get() = assets.list(path).orEmpty().map { AssetSource(assets, "$path/$it") }
            .ifEmpty { null }

    override fun open(): InputStream = assets.open(path)
}
