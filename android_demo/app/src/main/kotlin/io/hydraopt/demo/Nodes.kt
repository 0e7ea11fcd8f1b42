package io.hydraopt.demo

import android.content.ContentResolver
import android.content.res.AssetManager
import android.net.Uri
import android.provider.DocumentsContract
import android.provider.DocumentsContract.Document
import java.io.IOException
import java.io.InputStream

/** A file or directory of the app's assets. */
class AssetNode(private val assets: AssetManager, private val path: String) : Node {
    override val name: String get() = path.substringAfterLast('/')

    override val children: List<Node>?
        get() = assets.list(path).orEmpty().map { AssetNode(assets, "$path/$it") }
            .ifEmpty { null }

    override fun open(): InputStream = assets.open(path)
}

/** A file or directory of another app, below a directory that the user picked. */
class DocumentNode private constructor(
    private val resolver: ContentResolver,
    private val uri: Uri,
    override val name: String,
    private val isDirectory: Boolean
) : Node {
    override val children: List<Node>?
        get() {
            if (!isDirectory) return null
            val id = DocumentsContract.getDocumentId(uri)
            val query = DocumentsContract.buildChildDocumentsUriUsingTree(uri, id)
            return query(resolver, query) { child, name, isDirectory ->
                val node = DocumentsContract.buildDocumentUriUsingTree(uri, child)
                DocumentNode(resolver, node, name, isDirectory)
            }
        }

    override fun open(): InputStream =
        asking { resolver.openInputStream(uri) } ?: throw IOException("$name is gone")

    companion object {
        private val COLUMNS = arrayOf(
            Document.COLUMN_DOCUMENT_ID,
            Document.COLUMN_DISPLAY_NAME,
            Document.COLUMN_MIME_TYPE
        )

        /** The root directory of a tree from `ACTION_OPEN_DOCUMENT_TREE`. */
        fun of(resolver: ContentResolver, tree: Uri): DocumentNode {
            val id = DocumentsContract.getTreeDocumentId(tree)
            val uri = DocumentsContract.buildDocumentUriUsingTree(tree, id)
            val name = Uri.decode(id).trimEnd('/').substringAfterLast('/').substringAfterLast(':')
            return DocumentNode(resolver, uri, name.ifEmpty { "bundle" }, isDirectory = true)
        }

        /** Rethrows exceptions of the other app. */
        private inline fun <T> asking(call: () -> T): T =
            try {
                call()
            } catch (error: SecurityException) {
                throw error
            } catch (error: RuntimeException) {
                throw IOException("its app fails with $error", error)
            }

        private fun <T> query(
            resolver: ContentResolver,
            uri: Uri,
            make: (String, String, Boolean) -> T
        ): List<T> {
            val rows = asking {
                resolver.query(uri, COLUMNS, null, null)?.use { cursor ->
                    val rows = ArrayList<T>()
                    while (cursor.moveToNext()) {
                        val isDirectory = cursor.getString(2) == Document.MIME_TYPE_DIR
                        rows.add(make(cursor.getString(0), cursor.getString(1) ?: "", isDirectory))
                    }
                    rows
                }
            }
            return rows ?: throw IOException("its app does not answer")
        }
    }
}
